"""Models on the edge: inference forms, exported files, and a runner; importing this and :class:`Runner` needs no torch."""

from importlib import import_module

_HOMES = {'Runner': 'runner', 'TARGETS': 'forms', 'export': 'exporter', 'to_deploy': 'forms'}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f'.{_HOMES[name]}', __name__), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return sorted(__all__)
