"""Registries of menet_mm, children of mmengine's root registries.

In a config, write ``type='menet_mm.MENet'``: the prefix makes mmengine import this module, and ``locations`` makes it
import the modules on the first look-up. Nothing else needs to be imported.
"""

from functools import partial
from importlib import import_module
from importlib.util import find_spec

from mmengine import registry as root
from mmengine.registry import Registry


class LateRegistry(Registry):
    """Imports what needs mmdet when one of its names, the keys of ``late``, is asked for; classification needs none of it."""

    def __init__(self, *args: object, late: dict[str, str], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.late = late

    def get(self, key: str) -> type | None:
        if key in self.late and find_spec('mmdet'):
            import_module(self.late[key])
        return super().get(key)


_child = partial(Registry, scope='menet_mm')
_late_child = partial(LateRegistry, scope='menet_mm')

MODELS = _late_child(
    'model',
    parent=root.MODELS,
    locations=['menet_mm.models', 'menet_mm.deploy.exported', 'menet_mm.engine.tiled'],
    late={'SSDHead': 'menet_mm.models.ssd_head'},
)
TRANSFORMS = _late_child(
    'transform',
    parent=root.TRANSFORMS,
    locations=['menet_mm.datasets'],  # an empty module; without any, mmengine would register all modules of ours
    late={'ExpandCrop': 'menet_mm.datasets.transforms'},
)
LOOPS = _child('loop', parent=root.LOOPS, locations=['menet_mm.engine.loops'])
HOOKS = _child('hook', parent=root.HOOKS, locations=['menet_mm.engine.hooks'])
PARAM_SCHEDULERS = _child('parameter scheduler', parent=root.PARAM_SCHEDULERS, locations=['menet_mm.engine.schedulers'])
FUNCTIONS = _child('function', parent=root.FUNCTIONS, locations=['menet_mm.datasets.collate'])
