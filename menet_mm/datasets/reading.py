"""Reading a labelled set of any format in ``formats/``."""

from __future__ import annotations

from pathlib import Path

from menet_mm.datasets.formats import class_folders, coco_json, csv_boxes, labelme, pascal_voc, yolo
from menet_mm.datasets.formats.files import Files
from menet_mm.datasets.labels import Labels
from menet_mm.datasets.libraries import existing
from menet_mm.errors import InputError

#: Readers and writers by the name of the format; a new format is one file and one row.
FORMATS = dict(voc=pascal_voc, coco=coco_json, yolo=yolo, labelme=labelme, csv=csv_boxes, folders=class_folders)


def recognise(files: Files) -> str:
    """Name the format of the files; ``InputError`` if it is none that is known, or more than one."""
    found = [name for name, form in FORMATS.items() if name != 'folders' and form.recognise(files)]
    if not found and FORMATS['folders'].recognise(files):
        return 'folders'
    if not found:
        known = ', '.join(FORMATS)
        raise InputError(
            f'{files.root} has {len(files.pictures)} pictures but labels of no format that is known ({known})'
        )
    if len(found) > 1:
        raise InputError(
            f'{files.root} has labels of {" and ".join(found)}: choose with --format, or give the folder of one'
        )
    return found[0]


def read_labels(root: str | Path, format: str = 'auto', rename: dict[str, str] | None = None) -> tuple[Labels, str]:
    """Read a folder of pictures and labels; returns the set, with its ``errors`` and ``notes``, and the name of the format.

    ``rename`` gives classes of the files other names.

    Raises:
        InputError: if there is no such folder, format or class to rename, or the format is not recognised.
    """
    if format not in ('auto', *FORMATS):
        raise InputError(f'unknown format {format!r}: choose one of auto, {", ".join(FORMATS)}')
    files = Files(Path(root))
    format = recognise(files) if format == 'auto' else format
    labels = FORMATS[format].read(files)
    labels.rename(rename or {})
    return labels, format


def write_labels(labels: Labels, root: str | Path, format: str) -> None:
    """Write a set, with copies of its pictures, into a folder in one of :data:`FORMATS`."""
    FORMATS[format].write(labels, Path(root))


#: Classes that read these formats, for the checks before a start.
READERS = ('BoxDataset',)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that folder and list of a data set's config are there; ``BoxDataset`` checks the labels itself when it is built."""
    existing(dataset, '', data_hint, folder=True)
    if dataset.get('ann_file'):
        existing(dataset, dataset['ann_file'], data_hint)
