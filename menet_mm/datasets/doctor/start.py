"""Checks of a data set before work starts. What cannot be checked, such as remote data, is skipped with a line in the log."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS, Registry
from rich.progress import track

from menet_mm.datasets import reading
from menet_mm.datasets.libraries import coco, folders, voc
from menet_mm.errors import InputError
from menet_mm.utils.pictures import find_defect

MAX_IMAGES = 25_000  # larger sets (ILSVRC has 1.28 million pictures) are sampled evenly: all would take minutes
LOCAL = ('local', 'disk')  # mmengine's backends that read files of this machine
#: By the class whose methods read the files; a subclass that reads them otherwise is another one.
CHECKS = {reader: form.check for form in (reading, coco, folders, voc) for reader in form.READERS}


def leaf_configs(dataset: dict | BaseDataset) -> Iterator[dict | BaseDataset]:
    """Yield the data sets, configs or built ones, inside wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""
    parts = dataset if isinstance(dataset, dict) else getattr(dataset, '__dict__', {})
    inner = parts.get('datasets', parts.get('dataset'))
    if inner is None:
        yield dataset
        return
    for part in inner if isinstance(inner, list | tuple) else [inner]:
        yield from leaf_configs(part)


def check_annotations(dataset: dict, data_hint: str | None = None) -> None:
    """Check the annotation files of a data set config, if they are on this machine and of a form that is known.

    ``InputError`` names the first that is missing or broken, and says by ``data_hint`` how the user gets the data.
    """
    for leaf in leaf_configs(dataset):
        if not isinstance(leaf, dict):
            continue  # built already, so its files were read
        what = f'the files of {leaf.get("type")}'
        if remote := is_remote(leaf):
            _skip(what, f'they are read through {remote}')
        elif check := CHECKS.get(_find_reader(leaf)):
            check(leaf, data_hint)
        else:
            _skip(what, 'their form is not known here')


def is_remote(dataset: dict) -> str | None:
    """Return through what a data set's config reads files, if they are not files of this machine; else None."""
    prefix = dataset.get('data_prefix') or ''
    paths = [dataset.get('data_root'), dataset.get('ann_file')]
    paths += prefix.values() if isinstance(prefix, dict) else [prefix]
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return next((str(path) for path in paths if '://' in str(path)), None if backend in LOCAL else backend)


def find_class(config: dict, root: Registry = DATASETS) -> type | None:
    """Return the class that a config's ``type`` names, in whatever scope it is registered."""
    kind, scope = config.get('type'), config.get('_scope_')
    if isinstance(kind, str):
        name, kind = f'{scope}.{kind}' if scope and '.' not in kind else kind, None
        # Ours last: they have names of mmdet's, too.
        for registry in (root, *sorted(root.children.values(), key=lambda child: child.scope == 'menet_mm')):
            with suppress(RuntimeError):  # mmengine's answer to some unknown names
                kind = kind or registry.get(name)
    return kind


def _find_reader(dataset: dict) -> str | None:
    """Return the name of the class whose methods read the files: the data set's own or one that it inherits from."""
    kind, methods = find_class(dataset), {'load_data_list', 'parse_data_info'}
    return next((parent.__name__ for parent in getattr(kind, '__mro__', ()) if methods & vars(parent).keys()), None)


def _skip(what: str, reason: str) -> None:
    print_log(f'Before the start {what} are not checked: {reason}', 'current')


def check_images(dataset: BaseDataset) -> int:
    """Decode at most :data:`MAX_IMAGES` pictures of a built data set, return how many; ``InputError`` names one that is bad."""
    leaves = list(leaf_configs(dataset))
    part = min(1, MAX_IMAGES / max(1, sum(len(leaf) for leaf in leaves if isinstance(leaf, BaseDataset))))
    paths = sorted({path for leaf in leaves for path in _local_images(leaf, part)})
    with ThreadPoolExecutor(max_workers=4) as pool:
        # A small set takes less time than the eye needs to read the bar.
        defects = track(pool.map(find_defect, paths), 'Checking images', len(paths), disable=len(paths) < 500)
        for path, defect in zip(paths, defects, strict=True):
            if defect:
                raise InputError(f'image {path} cannot be read ({defect}); replace it or take its id out of the list')
    return len(paths)


def _local_images(dataset: object, part: float) -> list[str]:
    """Paths of the pictures that ``LoadImageFromFile`` reads from local files; ``part`` of them, evenly."""
    name = type(dataset).__name__
    if not isinstance(dataset, BaseDataset):
        _skip(f'the items of {name}', 'it is no data set of mmengine')
        return []
    # A subclass may read another form, and with ignore_empty pictures may be missing.
    steps = getattr(dataset.pipeline, 'transforms', [])
    loaders = [step for step in steps if type(step) is LoadImageFromFile and not step.ignore_empty]
    settings = [s.backend_args or s.file_client_args or {} for s in loaders if s.imdecode_backend != 'tifffile']
    if steps and not any(given.get('backend', 'local') in LOCAL for given in settings):
        _skip(f'the pictures of {name}', 'its pipeline does not read them by LoadImageFromFile from local files')
        return []
    indices = np.unique(np.linspace(0, len(dataset) - 1, round(part * len(dataset))).astype(int))
    paths = [dataset.get_data_info(int(i)).get('img_path') for i in indices]
    local = [path for path in paths if isinstance(path, str) and '://' not in path]
    if len(local) < len(paths):
        _skip(f'{len(paths) - len(local)} pictures of {name}', 'their items name no local file')
    return local
