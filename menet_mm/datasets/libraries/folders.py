"""Pictures to classify: a text file of names and labels, or a folder for each class."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import print_log

from menet_mm.datasets.libraries import class_names, existing, read_lines
from menet_mm.errors import InputError

READERS = ('CustomDataset',)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the list of pictures is there; without a list, the folder of the classes' folders."""
    ann_file, prefix = dataset.get('ann_file'), dataset.get('data_prefix') or dataset.get('split') or ''
    part = ann_file or (prefix if isinstance(prefix, str) else prefix.get('img_path', ''))
    found = existing(dataset, os.path.expanduser(part), data_hint, folder=not ann_file)
    if not ann_file and (classes := class_names(dataset)):
        check_names(found, class_folders(found), classes)


def class_folders(root: Path) -> list[str]:
    """Names of the classes' folders, sorted; hidden ones such as ``.ipynb_checkpoints`` are none."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith('.'))


def check_names(root: Path, names: list[str], classes: Sequence[str] | None) -> None:
    """Compare the folders with the names that the config declares: a label is the place of a folder among the sorted ones.

    Names that are no folder's, such as 'tench' for n01440764, are taken as they stand.

    Raises:
        InputError: if a name stands in another place than its folder, or their numbers differ.
    """
    if not names:
        raise InputError(f'{root} has no folders: one for each class, with its pictures, was expected')
    if classes is None or [name.casefold() for name in classes] == [name.casefold() for name in names]:
        return
    common = {name.casefold() for name in names}.intersection(name.casefold() for name in classes)
    if common and len(common) < len(classes) and (missing := [name for name in classes if name not in names]):
        raise InputError(
            f'{root} has no folder {", ".join(missing[:5])}, which the config names as a class; it has '
            f'{", ".join(names[:10])}: make it, empty if need be, or correct metainfo.classes'
        )
    if common:
        raise InputError(
            f'labels follow the sorted folders of {root}, but metainfo.classes has another order or other names: write '
            f'classes={tuple(names)}'
        )
    if len(classes) != len(names):
        raise InputError(
            f'{root} has {len(names)} folders ({", ".join(names[:10])}), but the config names {len(classes)} classes: '
            'make both agree'
        )


def check_samples(root: Path, pairs: list, empty: list[str], endings: Sequence[str]) -> None:
    """Refuse folders without any picture, and say which class has none."""
    if not pairs:
        raise InputError(
            f'the folders of {root} have no pictures: files ending in {", ".join(sorted(endings))} were expected'
        )
    if empty:
        print_log(f'{root}: {len(empty)} folders have no pictures: {", ".join(empty[:10])}', 'current', 30)


def read_list(path: Path, classes: Sequence[str] | None) -> list[tuple[str, int]]:
    """Read lines of a picture's name and its label, a number from 0 or the name of a class.

    Raises:
        InputError: naming file and line.
    """
    pairs, numbers = [], {name: label for label, name in enumerate(classes or ())}
    for number, line in read_lines(path):
        name, _, label = line.replace('\t', ' ').rpartition(' ')
        if not name:
            raise InputError(f'{path}, line {number}: {line!r} is no name and a label, such as "cat/1.jpg 0"')
        pairs.append((name.strip(), number, numbers.get(label, label)))
    if not pairs:
        raise InputError(f'{path} is empty: lines of a picture and its label, such as "cat/1.jpg 0", were expected')
    labels = {label for *_, label in pairs if str(label).isdecimal()}
    from_one = '; labels count from 0, and these seem to count from 1' if '0' not in labels and 0 not in labels else ''
    for _, number, label in pairs:
        if not str(label).isdecimal() or (classes is not None and int(label) >= len(classes)):
            known = f'0 to {len(classes) - 1}' if classes else 'a number from 0'
            names = f', or one of {", ".join(map(str, classes[:10]))}' if classes else ''
            raise InputError(
                f'{path}, line {number}: the label is {label!r}, but {known}{names} was expected{from_one}'
            )
    return [(name, int(label)) for name, _, label in pairs]
