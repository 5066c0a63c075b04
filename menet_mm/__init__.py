"""MENet (Merging-and-Evolution Networks) as a plugin for MMPretrain and MMDetection.

Importing this package is light: torch and the MM libraries are imported when a name that needs them is first used. Only
mmengine's config module, without torch, is imported where mmengine is installed.
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = '0.1.0'

_HOMES = {
    'InputError': 'errors',
    'MENet': 'models',
    'MEModule': 'models',
    'MEPlugin': 'models',
    'MergingEvolution': 'models',
    'MobileNetV1': 'models',
    'SSDHead': 'models.ssd_head',
    'ShuffleNetV1': 'models',
    'SqueezeExcitation': 'models',
    'get_inferencer': 'apis.inference',
}

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
