"""Checks of a data set before work starts, so that bad data ends in one sentence instead of a late traceback.

:func:`check_annotations` looks at files before a data set is built; :func:`check_images` decodes the pictures of one that
was built. What cannot be checked, such as data on a remote server, is skipped with a line in the log, never refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from rich.progress import track

from menet_mm.datasets.formats import coco, folders, voc
from menet_mm.errors import InputError
from menet_mm.utils.pictures import find_defect

#: Larger sets (ILSVRC has 1.28 million pictures) are sampled evenly: reading all of them would take minutes.
MAX_IMAGES = 25_000
#: The check of a data set, by the class whose methods read its files. A subclass that reads them otherwise is another one.
CHECKS = {reader: form.check for form in (coco, folders, voc) for reader in form.READERS}


def leaf_configs(dataset: dict) -> Iterator[dict]:
    """Yield the configs of the data sets inside wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""
    if not isinstance(dataset, dict):
        return  # built already
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from leaf_configs(inner)
    elif 'dataset' in dataset:
        yield from leaf_configs(dataset['dataset'])
    else:
        yield dataset


def check_annotations(dataset: dict, data_hint: str | None = None) -> None:
    """Check the annotation files of a data set config, if they are on this machine and of a form in ``formats/``.

    Args:
        dataset: config of a data set, possibly wrapped.
        data_hint: how the user gets the data; part of the message.

    Raises:
        InputError: naming the first file that is missing or broken.
    """
    for leaf in leaf_configs(dataset):
        reader = _find_reader(leaf)
        if remote := _find_remote(leaf):
            _say_unchecked(f'the annotations of {leaf.get("type")}', f'they are read through {remote}')
        elif reader not in CHECKS:
            _say_unchecked(f'the files of {leaf.get("type")}', 'their form is not known here')
        else:
            CHECKS[reader](leaf, data_hint)


def _find_remote(dataset: dict) -> str | None:
    """Return the address or the backend that files are read through, or None if they are local."""
    prefix = dataset.get('data_prefix') or ''
    paths = [
        dataset.get('data_root'),
        dataset.get('ann_file'),
        *(prefix.values() if isinstance(prefix, dict) else [prefix]),
    ]
    return next((path for path in paths if '://' in str(path)), None) or _find_backend(dataset.get('backend_args'))


def _find_backend(arguments: dict | None) -> str | None:
    backend = (arguments or {}).get('backend', 'local')
    return None if backend in ('local', 'disk') else backend


def _find_reader(dataset: dict) -> str | None:
    """Return the name of the class whose methods read the files: the data set's own or one that it inherits from."""
    kind, scope = dataset.get('type'), dataset.get('_scope_')
    if isinstance(kind, str):
        name, kind = f'{scope}.{kind}' if scope and '.' not in kind else kind, None
        for registry in (DATASETS, *DATASETS.children.values()):
            with suppress(RuntimeError):  # mmengine's answer to some unknown names
                kind = kind or registry.get(name)
    methods = {'load_data_list', 'parse_data_info'}
    return next((parent.__name__ for parent in getattr(kind, '__mro__', ()) if methods & vars(parent).keys()), None)


def _say_unchecked(what: str, reason: str) -> None:
    print_log(f'Before the start {what} are not checked: {reason}', 'current')


def check_images(dataset: BaseDataset) -> int:
    """Decode the pictures of a data set that was built; of a set above :data:`MAX_IMAGES`, an even sample.

    Args:
        dataset: a data set, possibly wrapped. Pictures in other places than local files are skipped.

    Returns:
        How many pictures were decoded.

    Raises:
        InputError: naming the first picture that is missing, truncated or no picture at all.
    """
    leaves = list(_leaves(dataset))
    part = min(1, MAX_IMAGES / max(1, sum(len(leaf) for leaf in leaves if isinstance(leaf, BaseDataset))))
    paths = sorted({path for leaf in leaves for path in _local_images(leaf, part)})
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = pool.map(find_defect, paths)
        # A small set takes less time than the eye needs to read the bar.
        for path, problem in zip(
            paths, track(results, 'Checking images', len(paths), disable=len(paths) < 500), strict=True
        ):
            if problem:
                raise InputError(f'image {path} cannot be read ({problem}); replace it or take its id out of the list')
    return len(paths)


def _leaves(dataset: object) -> Iterator[object]:
    """Yield the data sets inside wrappers, as :func:`leaf_configs` does for configs."""
    if hasattr(dataset, 'datasets'):
        for inner in dataset.datasets:
            yield from _leaves(inner)
    elif hasattr(dataset, 'dataset'):
        yield from _leaves(dataset.dataset)
    else:
        yield dataset


def _local_images(dataset: object, part: float) -> set[str]:
    """Paths of the pictures that ``LoadImageFromFile`` reads from local files; ``part`` of them, evenly."""
    name = type(dataset).__name__
    if not isinstance(dataset, BaseDataset):
        _say_unchecked(f'the items of {name}', 'it is no data set of mmengine')
        return set()
    steps = getattr(dataset.pipeline, 'transforms', [])
    if steps and not any(map(_reads_local_files, steps)):
        _say_unchecked(
            f'the pictures of {name}', 'its pipeline does not read them by LoadImageFromFile from local files'
        )
        return set()
    indices = np.unique(np.linspace(0, len(dataset) - 1, round(part * len(dataset))).astype(int))
    found = [dataset.get_data_info(int(i)).get('img_path') for i in indices]
    paths = {path for path in found if isinstance(path, str) and '://' not in path}
    if skipped := sum(path not in paths for path in map(str, found)):
        _say_unchecked(f'{skipped} pictures of {name}', 'their items name no local file')
    return paths


def _reads_local_files(step: object) -> bool:
    return (
        type(step) is LoadImageFromFile  # a subclass may read another form
        and step.imdecode_backend != 'tifffile'
        and not step.ignore_empty  # missing pictures are allowed
        and not _find_backend(step.backend_args or step.file_client_args)
    )
