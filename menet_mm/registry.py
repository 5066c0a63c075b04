"""Registries of menet_mm, children of mmengine's root registries.

In a config, write ``type='menet_mm.MENet'``: the prefix makes mmengine import this module, and ``locations`` makes it
import the modules on the first look-up. Nothing else needs to be imported.
"""

from functools import partial
from importlib import import_module
from importlib.util import find_spec

from mmengine import registry as root
from mmengine.registry import Registry


class ModelRegistry(Registry):
    """Imports the SSD head when it is asked for, since it imports mmdet, which classification does not need."""

    def get(self, key: str) -> type | None:
        if key == 'SSDHead' and find_spec('mmdet'):
            import_module('menet_mm.models.ssd_head')
        return super().get(key)


_child = partial(Registry, scope='menet_mm')
_transforms = ['menet_mm.datasets.transforms'] if find_spec('mmdet') else []  # they are mmdet's, made faster

MODELS = ModelRegistry(
    'model', parent=root.MODELS, scope='menet_mm', locations=['menet_mm.models', 'menet_mm.deploy.exported']
)
LOOPS = _child('loop', parent=root.LOOPS, locations=['menet_mm.engine.loops'])
HOOKS = _child('hook', parent=root.HOOKS, locations=['menet_mm.engine.hooks'])
PARAM_SCHEDULERS = _child('parameter scheduler', parent=root.PARAM_SCHEDULERS, locations=['menet_mm.engine.schedulers'])
TRANSFORMS = _child('transform', parent=root.TRANSFORMS, locations=_transforms)
