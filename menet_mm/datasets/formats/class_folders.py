"""Pictures to classify: a folder for each class, which may lie in folders of splits."""

from __future__ import annotations

import shutil
from pathlib import Path

from menet_mm.datasets.formats.files import NAMES, Files
from menet_mm.datasets.labels import Labels, Picture


def recognise(files: Files) -> bool:
    """Whether pictures lie in folders of two or more classes."""
    return len(_labels(files)) > 0 and len(set(_labels(files).values())) > 1


def _labels(files: Files) -> dict[Path, str]:
    """The class of each picture: the first folder of its path, or the second where the first ones are all splits."""
    parts = {path: path.relative_to(files.root).parts[:-1] for path in files.pictures}
    tops = {folders[0].lower() for folders in parts.values() if folders}
    level = int(bool(tops) and tops <= NAMES.keys())
    return {path: folders[level] for path, folders in parts.items() if len(folders) > level}


def read(files: Files) -> Labels:
    """Read the names of the folders."""
    labels, names = Labels(files.root), _labels(files)
    for path in files.pictures:
        if path in names:
            labels.pictures[files.id_of(path)] = Picture(path, label=names[path])
        else:
            labels.note('pictures lie in no folder of a class, and are left out', path)
    labels.classes = sorted(set(names.values()))
    for name in labels.pictures:
        top = NAMES.get(Path(name).parts[0].lower())
        if top and len(Path(name).parts) > 2:
            labels.splits.setdefault(top, []).append(name)
    return labels


def write(labels: Labels, root: Path) -> None:
    """Write copies of the pictures into ``<split>/<class>``, without splits into ``<class>``."""
    place = {name: split for split, ids in reversed(labels.splits.items()) for name in ids}
    for name, picture in labels.pictures.items():
        path = root / place.get(name, '') / str(picture.label) / Path(name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(picture.path, path)
