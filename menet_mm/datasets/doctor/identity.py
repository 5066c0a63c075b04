"""Class names and their order: the same in training, validation, test and what a checkpoint says of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import repeat
from pathlib import Path

from mmengine.config import Config

from menet_mm.datasets.doctor.start import find_class, is_remote, leaf_configs
from menet_mm.datasets.libraries import class_names, folders
from menet_mm.errors import InputError


def check_identity(cfg: Config) -> None:
    """Compare the names of classes that the data sets of train, val and test have, in their order.

    Raises:
        InputError: naming what differs, with what to write.
    """
    known: dict[str, list[str]] = {}
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        for leaf in leaf_configs(loader.get('dataset') or {}):
            if names := isinstance(leaf, dict) and _names_of(leaf, f'{split}_dataloader.dataset'):
                known.setdefault(split, names)
                _compare(split, names, *next(iter(known.items())))


def check_recorded(recorded: Sequence[str] | None, classes: Sequence[str] | None, strict: bool) -> None:
    """Compare the classes that a checkpoint or an exported model was trained on with those of the data.

    Args:
        recorded: what it says; None if it says nothing.
        classes: of the data set.
        strict: whether other names are refused, too; a training may begin with weights for other classes.

    Raises:
        InputError: with both.
    """
    recorded, classes = list(recorded or ()), list(classes or ())
    same = sorted(map(str, recorded)) == sorted(map(str, classes))
    if not recorded or not classes or recorded == classes or not (same or strict):
        return
    if (
        not same
        and len(recorded) == len(classes)
        and all(map(_alike, recorded, classes, repeat(recorded), repeat(classes)))
    ):
        return  # a library's spelling that changed with its version, as two of ImageNet's did
    what = 'in another order' if same else 'of other names'
    raise InputError(
        f'the model was trained on classes {what} than those of the data set: its own are {_written(recorded)}, the data '
        f'set has {_written(classes)}; set metainfo.classes to its names, in its order'
    )


def _alike(one: str, two: str, recorded: list[str], classes: list[str]) -> bool:
    """Whether two names are one, or two spellings of a name that stands in no other place."""
    return one == two or (
        one not in classes and two not in recorded and SequenceMatcher(None, str(one), str(two)).ratio() > 0.8
    )


def _names_of(dataset: dict, place: str) -> list[str]:
    metainfo = dataset.get('metainfo') or {}
    if wrong := [key for key in metainfo if key != 'classes' and key.lower() == 'classes']:
        raise InputError(
            f"{place}.metainfo has the key '{wrong[0]}', which nothing reads: write metainfo=dict(classes=...)"
        )
    names, kind = class_names(dataset) or list(dataset.get('classes') or ()), find_class(dataset)
    if twice := [str(name) for name, number in Counter(names).items() if number > 1]:
        raise InputError(f'{place} names the class {twice[0]!r} more than once: give each class one name')
    if not names and kind is not None:
        names = list(getattr(kind, 'METAINFO', {}).get('classes', ()))
    if not names and kind is not None and kind.__name__ == 'CustomDataset' and not dataset.get('ann_file'):
        prefix = dataset.get('data_prefix') or ''
        prefix = prefix if isinstance(prefix, str) else prefix.get('img_path', '')
        root = Path(dataset.get('data_root') or '', prefix).expanduser()
        names = folders.class_folders(root) if not is_remote(dataset) and root.is_dir() else []
    return names


def _compare(split: str, names: list[str], first: str, others: list[str]) -> None:
    if names == others:
        return
    place, more, fewer = (
        f'{split}_dataloader.dataset',
        [n for n in names if n not in others],
        [n for n in others if n not in names],
    )
    if not more and not fewer:
        raise InputError(
            f'{place} names the classes in another order than {first}_dataloader.dataset: write classes={_written(others)} in both'
        )
    parts = [f'has no {", ".join(map(repr, fewer[:5]))}'] * bool(fewer) + [
        f'has {", ".join(map(repr, more[:5]))}'
    ] * bool(more)
    raise InputError(
        f'{place} {" and ".join(parts)} among its classes, unlike {first}_dataloader.dataset: write the same metainfo.classes '
        'for all, or make the folder that is missing'
    )


def _written(names: Sequence[str]) -> str:
    shown = ', '.join(map(repr, names[:20]))
    return f'({shown}, ...)' if len(names) > 20 else f'({shown},)' if len(names) == 1 else f'({shown})'
