from importlib.util import find_spec

from .me_module import MEModule, MergingEvolution
from .me_plugin import MEPlugin
from .menet import MENet

__all__ = ['MEModule', 'MENet', 'MEPlugin', 'MergingEvolution']

# Classification works without mmdet; detectors need the head.
if find_spec('mmdet'):
    from .ssd_head import SSDHead

    __all__ += ['SSDHead']
