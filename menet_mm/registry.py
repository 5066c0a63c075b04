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
    """Imports what needs mmdet or mmpretrain when one of its names, the keys of ``late``, is asked for.

    ``late`` gives the library and the module. Classification needs nothing of mmdet, and detection nothing of mmpretrain.
    """

    def __init__(self, *args: object, late: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.late = late

    def get(self, key: str) -> type | None:
        library, module = self.late.get(key, (None, None))
        if library and find_spec(library):
            import_module(module)
        return super().get(key)


_child = partial(Registry, scope='menet_mm')
_late_child = partial(LateRegistry, scope='menet_mm')

MODELS = _late_child(
    'model',
    parent=root.MODELS,
    locations=['menet_mm.models', 'menet_mm.deploy.exported', 'menet_mm.engine.tiled'],
    late={'SSDHead': ('mmdet', 'menet_mm.models.ssd_head')},
)
TRANSFORMS = _late_child(
    'transform',
    parent=root.TRANSFORMS,
    locations=['menet_mm.datasets'],  # an empty module; without any, mmengine would register all modules of ours
    late={'ExpandCrop': ('mmdet', 'menet_mm.datasets.transforms')},
)
DATASETS = _late_child(
    'dataset',
    parent=root.DATASETS,
    locations=['menet_mm.datasets'],
    late=dict.fromkeys(('XMLDataset', 'VOCDataset', 'CocoDataset'), ('mmdet', 'menet_mm.datasets.libraries.detection'))
    | {
        'BoxDataset': ('mmdet', 'menet_mm.datasets.boxes'),
        'CustomDataset': ('mmpretrain', 'menet_mm.datasets.libraries.classification'),
    },
)
METRICS = _late_child(
    'metric',
    parent=root.METRICS,
    locations=['menet_mm.evaluation'],
    late={'CocoMetric': ('mmdet', 'menet_mm.evaluation.coco')},
)
LOOPS = _child('loop', parent=root.LOOPS, locations=['menet_mm.engine.loops'])
HOOKS = _child('hook', parent=root.HOOKS, locations=['menet_mm.engine.hooks'])
PARAM_SCHEDULERS = _child('parameter scheduler', parent=root.PARAM_SCHEDULERS, locations=['menet_mm.engine.schedulers'])
FUNCTIONS = _child('function', parent=root.FUNCTIONS, locations=['menet_mm.datasets.collate'])
