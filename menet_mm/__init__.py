"""MENet (Merging-and-Evolution Networks) as a plugin for MMPretrain and MMDetection.

Importing this package is light: torch and the MM libraries, but for mmengine's config module, are imported when a name that
needs them is first used.
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = '0.1.0'

_BACKBONES = ('MENet', 'MobileNetV1', 'ShuffleNetV1')
_LAYERS = ('MEModule', 'MEPlugin', 'MergingEvolution', 'SSDHead', 'SqueezeExcitation')
_HOMES = {'InputError': 'errors', 'get_inferencer': 'apis.inference'} | dict.fromkeys(_BACKBONES + _LAYERS, 'models')
__all__ = ['__version__', *_HOMES]

if find_spec('mmengine'):
    # `_base_ = 'menet_mm::menet/<config>'` looks a module up by its distribution's name. The module's own name is given
    # here, since an editable install is not found by the distribution's.
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE['menet_mm'] = 'menet_mm'


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f'.{_HOMES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
