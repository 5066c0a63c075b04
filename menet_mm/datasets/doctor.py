"""Checks of a data set before work starts, so that bad data ends in one sentence instead of a late traceback.

:func:`check_annotations` looks at files before a data set is built; :func:`check_images` decodes the pictures of one that
was built. Both are called for the data sets of the final config, after ``--cfg-options``.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.pictures import find_defect

#: Larger sets (ILSVRC has 1.28 million pictures) are sampled evenly: reading all of them would take minutes.
MAX_IMAGES = 25_000


def leaf_configs(dataset: dict) -> Iterator[dict]:
    """Yield the configs of the data sets inside wrappers such as ``ConcatDataset`` and ``RepeatDataset``."""
    if 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from leaf_configs(inner)
    elif 'dataset' in dataset:
        yield from leaf_configs(dataset['dataset'])
    else:
        yield dataset


def check_annotations(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the annotation files of a data set config exist and, for VOC's XML files, that they can be read.

    Args:
        dataset: config of a data set, possibly wrapped.
        data_hint: how the user gets the data; part of the message.

    Raises:
        InputError: naming the first file that is missing or broken.
    """
    for leaf in leaf_configs(dataset):
        root = Path(leaf.get('data_root') or '')
        prefix = leaf.get('data_prefix') or {}
        ann_file = leaf.get('ann_file')
        # Without a list of its own, a classification set is a folder for each class below the prefix or the split.
        path = root / (ann_file or (prefix if isinstance(prefix, str) else '') or leaf.get('split', ''))
        if not (path.is_file() if ann_file else path.is_dir()):
            raise InputError(
                f'no data set: {path} does not exist; {data_hint or "get it"}, or set data_root to where it is'
            )
        if path.suffix == '.json':
            _check_coco(leaf, path)
        elif 'sub_data_root' in prefix:
            _check_voc(leaf, root, path)


def _check_coco(leaf: dict, path: Path) -> None:
    try:
        content = json.loads(path.read_bytes())
        names = {category['name'] for category in content['categories']}
        if not all(isinstance(content[key], list) for key in ('images', 'annotations')):
            raise TypeError('images and annotations must be lists')
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f'{path} is not valid COCO JSON ({type(error).__name__}: {error}); export it again') from None
    missing = [name for name in (leaf.get('metainfo') or {}).get('classes', ()) if name not in names]
    if missing:
        raise InputError(
            f'{path} has no category {", ".join(missing)}; it has {", ".join(sorted(names))}: '
            'set metainfo.classes to names that occur in the data'
        )


def _check_voc(leaf: dict, root: Path, ann_file: Path) -> None:
    folder = root / leaf['data_prefix']['sub_data_root']
    names = Counter()
    try:
        ids = ann_file.read_text().splitlines()
    except UnicodeDecodeError:
        raise InputError(
            f'{ann_file} is no text: a list of picture ids, one a line, was expected as ann_file'
        ) from None
    for image_id in ids:
        names.update(_names_in(folder / leaf.get('ann_subdir', 'Annotations') / f'{image_id}.xml'))
    classes = (leaf.get('metainfo') or {}).get('classes')
    if classes and not leaf.get('test_mode') and not any(names[name] for name in classes):
        raise InputError(
            f'no object in {ann_file} is of the classes {", ".join(classes)}; it has {", ".join(sorted(names))}: '
            'set metainfo.classes to names that occur in the data'
        )


def _names_in(path: Path) -> list[str]:
    """Class names in one VOC annotation; every field that mmdet reads must be there."""
    try:
        root = ET.parse(path).getroot()
        for side in ('width', 'height') if root.find('size') is not None else ():
            int(root.find('size').find(side).text)
        for obj in root.findall('object'):
            for side in ('xmin', 'ymin', 'xmax', 'ymax'):
                int(float(obj.find('bndbox').find(side).text))
            if (difficult := obj.find('difficult')) is not None:
                int(difficult.text)
        return [obj.find('name').text for obj in root.findall('object')]
    except FileNotFoundError:
        raise InputError(f'annotation {path} is missing; restore it or take its id out of the list') from None
    except (ET.ParseError, AttributeError, TypeError, ValueError, OverflowError, LookupError) as error:
        raise InputError(
            f'annotation {path} is not valid VOC XML ({error}); repair it or take its id out of the list'
        ) from None


def check_images(dataset: BaseDataset) -> int:
    """Decode the pictures of a data set that was built; of a set above :data:`MAX_IMAGES`, an even sample.

    Args:
        dataset: a data set of mmdet or mmpretrain, possibly wrapped.

    Returns:
        How many pictures were decoded.

    Raises:
        InputError: naming the first picture that is missing, truncated or no picture at all.
    """
    count = len(dataset)
    indices = np.unique(np.linspace(0, count - 1, min(count, MAX_IMAGES)).astype(int)) if count else []
    paths = sorted({dataset.get_data_info(int(i))['img_path'] for i in indices})
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = pool.map(find_defect, paths)
        # A small set takes less time than the eye needs to read the bar.
        for path, problem in zip(
            paths, track(results, 'Checking images', len(paths), disable=len(paths) < 500), strict=True
        ):
            if problem:
                raise InputError(f'image {path} cannot be read ({problem}); replace it or take its id out of the list')
    return len(paths)
