"""Registries of menet_mm, children of mmengine's root registries.

In a config, write ``type='menet_mm.MENet'``: the prefix makes mmengine import this module, and ``locations`` makes it
import the modules on the first look-up. Nothing else needs to be imported.
"""

from functools import partial
from importlib.util import find_spec

from mmengine import registry as root
from mmengine.registry import Registry

_child = partial(Registry, scope='menet_mm')

MODELS = _child('model', parent=root.MODELS, locations=['menet_mm.models', 'menet_mm.deploy.exported'])
LOOPS = _child('loop', parent=root.LOOPS, locations=['menet_mm.engine.loops'])
HOOKS = _child('hook', parent=root.HOOKS, locations=['menet_mm.engine.hooks'])
PARAM_SCHEDULERS = _child('parameter scheduler', parent=root.PARAM_SCHEDULERS, locations=['menet_mm.engine.schedulers'])
# They are mmdet's, made faster; classification works without it.
TRANSFORMS = _child(
    'transform', parent=root.TRANSFORMS, locations=['menet_mm.datasets.transforms'] if find_spec('mmdet') else []
)
