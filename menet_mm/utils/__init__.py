"""What other packages look for under this name."""

from importlib import import_module
from importlib.util import find_spec


def register_all_modules(init_default_scope: bool = False) -> None:
    """Register menet_mm's modules and those of MMDetection and MMPretrain, whichever are installed.

    ``mmengine.hub`` calls it. ``menet_mm`` becomes the default scope only if asked for, because our configs name scopes.
    """
    from mmengine.registry import init_default_scope as set_default_scope

    from menet_mm.registry import DATASETS, HOOKS, LOOPS, METRICS, MODELS, PARAM_SCHEDULERS, TRANSFORMS

    for library in filter(find_spec, ('mmdet', 'mmpretrain')):
        import_module(f'{library}.utils').register_all_modules(init_default_scope=False)
    for registry in (HOOKS, LOOPS, MODELS, PARAM_SCHEDULERS, TRANSFORMS):
        registry.import_from_location()
    for registry in (DATASETS, METRICS, MODELS, TRANSFORMS):
        for name in registry.late:
            registry.get(name)
    if init_default_scope:
        set_default_scope('menet_mm')
