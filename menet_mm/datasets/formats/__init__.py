"""Forms of annotations that can be checked before a data set is built, one file each; ``doctor.py`` lists them.

``READERS`` are the names of the classes whose methods read the form. ``check(dataset, data_hint)`` takes the config of one
data set and raises :class:`menet_mm.InputError`.
"""

from __future__ import annotations

from pathlib import Path

from mmengine.fileio import list_from_file

from menet_mm.errors import InputError


def existing(path: Path, data_hint: str | None, folder: bool = False) -> Path:
    """Return the path of a file or a folder; raise ``InputError`` with how to get the data if it is not there."""
    if not (path.is_dir() if folder else path.is_file()):
        advice = f'{data_hint or "get it"}, or set data_root to where it is'
        raise InputError(f'no data set: {path} does not exist; {advice}')
    return path


def class_names(dataset: dict) -> list[str]:
    """Names in ``metainfo.classes``, which may also be a text file with a name on each line; empty if not given."""
    names = (dataset.get('metainfo') or {}).get('classes') or ()
    if isinstance(names, str):
        return list_from_file(names) if Path(names).is_file() else [names]
    return list(names)
