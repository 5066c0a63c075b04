from .me_module import MEModule, MergingEvolution, SqueezeExcitation
from .me_plugin import MEPlugin
from .menet import MENet
from .mobilenet_v1 import MobileNetV1
from .shufflenet_v1 import ShuffleNetV1

# The SSD head is not among them: it imports mmdet, which classification does not need.
__all__ = ['MEModule', 'MENet', 'MEPlugin', 'MergingEvolution', 'MobileNetV1', 'ShuffleNetV1', 'SqueezeExcitation']
