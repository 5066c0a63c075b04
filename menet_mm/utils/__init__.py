"""What other packages look for under this name."""

from importlib import import_module
from importlib.util import find_spec


def register_all_modules(init_default_scope: bool = False) -> None:
    """Register menet_mm's modules and those of MMDetection and MMPretrain, whichever are installed.

    ``mmengine.hub.get_model('menet_mm::menet/<config>')`` calls it; our configs need no call. With ``init_default_scope``,
    ``menet_mm`` becomes the default scope of the process; off, unlike in MMDetection, because our configs name scopes.
    """
    from mmengine.registry import init_default_scope as set_default_scope

    from menet_mm.registry import HOOKS, LOOPS, MODELS, PARAM_SCHEDULERS, TRANSFORMS

    for library in ('mmdet', 'mmpretrain'):
        if find_spec(library):
            import_module(f'{library}.utils').register_all_modules(init_default_scope=False)
    for ours in (HOOKS, LOOPS, MODELS, PARAM_SCHEDULERS):
        ours.import_from_location()
    if find_spec('mmdet'):  # without it there are no transforms
        TRANSFORMS.import_from_location()
    if init_default_scope:
        set_default_scope('menet_mm')
