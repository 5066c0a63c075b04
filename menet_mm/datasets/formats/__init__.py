"""Forms of annotations that can be checked before a data set is built, one file each; ``doctor.py`` lists them.

``READERS``: the classes whose methods read the form. ``check(config, data_hint)`` raises :class:`menet_mm.InputError`.
"""

from pathlib import Path

from mmengine.fileio import list_from_file

from menet_mm.errors import InputError


def existing(dataset: dict, path: str, data_hint: str | None, folder: bool = False) -> Path:
    """Return a file or a folder, seen from ``data_root``; raise ``InputError`` with how to get the data if it is not there."""
    found = Path(dataset.get('data_root') or '', path)
    if not (found.is_dir() if folder else found.is_file()):
        advice = f'{data_hint or "get it"}, or set data_root to where it is'
        raise InputError(f'no data set: {found} does not exist; {advice}')
    return found


def class_names(dataset: dict) -> list[str]:
    """Names in ``metainfo.classes``, which may also be a text file with a name on each line; empty if not given."""
    names = (dataset.get('metainfo') or {}).get('classes') or ()
    if isinstance(names, str):
        return list_from_file(names) if Path(names).is_file() else [names]
    return list(names)
