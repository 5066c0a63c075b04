"""Registries of menet_mm, children of mmengine's root registries.

In a config, write ``type='menet_mm.MENet'``: the prefix makes mmengine import this module, and ``locations`` makes it
import the modules on the first look-up. Nothing else needs to be imported.
"""

from importlib.util import find_spec

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope='menet_mm',
    locations=['menet_mm.models', 'menet_mm.deploy.exported'],
)
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='menet_mm', locations=['menet_mm.engine.hooks'])
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=MMENGINE_PARAM_SCHEDULERS,
    scope='menet_mm',
    locations=['menet_mm.engine.schedulers'],
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='menet_mm',
    # They are mmdet's, made faster; classification works without it.
    locations=['menet_mm.datasets.transforms'] if find_spec('mmdet') else [],
)
