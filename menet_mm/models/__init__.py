from importlib.util import find_spec

from .me_module import MEModule, MergingEvolution, SqueezeExcitation
from .me_plugin import MEPlugin
from .menet import MENet
from .mobilenet_v1 import MobileNetV1
from .shufflenet_v1 import ShuffleNetV1

__all__ = ['MEModule', 'MENet', 'MEPlugin', 'MergingEvolution', 'MobileNetV1', 'ShuffleNetV1', 'SqueezeExcitation']

# Classification works without mmdet; detectors need the head.
if find_spec('mmdet'):
    from .ssd_head import SSDHead

    __all__ += ['SSDHead']
