"""MENet (Merging-and-Evolution Networks) as a plugin for MMPretrain and MMDetection.

Importing this package is light: torch and the MM libraries, but for mmengine's config module, are imported when a name that
needs them is first used.
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = '0.1.0'

_BACKBONES = ('MENet', 'MobileNetV1', 'ShuffleNetV1')
_LAYERS = ('MEModule', 'MEPlugin', 'MergingEvolution', 'SqueezeExcitation')
_HOMES = {'BoxDataset': 'datasets.boxes', 'InputError': 'errors'}
_HOMES |= {'SSDHead': 'models.ssd_head', 'get_inferencer': 'apis.inference'}
_HOMES |= dict.fromkeys(_BACKBONES + _LAYERS, 'models')
__all__ = ['__version__', *_HOMES]

if find_spec('mmengine'):
    # `_base_ = 'menet_mm::menet/<config>'` is looked up here.
    from mmengine.config.utils import MODULE2PACKAGE

    from .utils.stack import CONFIG_HOME

    MODULE2PACKAGE['menet_mm'] = CONFIG_HOME


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f'.{_HOMES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
