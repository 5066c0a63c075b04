"""Models on the edge: inference forms, exported files, and a runner that needs neither torch nor an MM library.

Importing this package, and :class:`Runner`, imports NumPy, OpenCV and Pillow, and no torch; where mmengine is installed,
also its config module (see :mod:`menet_mm`).
"""

from importlib import import_module

_HOMES = {'Runner': 'runner', 'TARGETS': 'forms', 'export': 'exporter', 'to_deploy': 'forms'}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f'.{_HOMES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
