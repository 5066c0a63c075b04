"""What other packages look for under this name."""

from __future__ import annotations


def register_all_modules(init_default_scope: bool = False) -> None:
    """Register menet_mm's modules and those of MMDetection and MMPretrain, whichever are installed.

    ``mmengine.hub.get_model('menet_mm::menet/<config>')`` calls it. Our configs need no call: the prefix in
    ``type='menet_mm.MENet'`` makes mmengine import what it takes.

    Args:
        init_default_scope: make ``menet_mm`` the default scope of the process. Off, unlike in MMDetection, because our
            configs name the scope of each library.
    """
    from importlib import import_module
    from importlib.util import find_spec

    from mmengine.registry import init_default_scope as set_default_scope

    for library in ('mmdet', 'mmpretrain'):
        if find_spec(library):
            import_module(f'{library}.utils').register_all_modules(init_default_scope=False)
    import_module('menet_mm.models')
    import_module('menet_mm.deploy.exported')
    import_module('menet_mm.engine.hooks')
    import_module('menet_mm.engine.schedulers')
    if find_spec('mmdet'):
        import_module('menet_mm.datasets.transforms')
    if init_default_scope:
        set_default_scope('menet_mm')
