"""Splits: those of the data are kept; others are seeded, by class, with copies on one side."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from menet_mm import InputError
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.datasets.splits import choose_splits, group_copies


def draw_picture(path: Path, seed: int) -> Path:
    """A picture of large patches, as the hash sees it."""
    patches = np.random.default_rng(seed).integers(0, 255, (8, 9, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(patches, (180, 160), interpolation=cv2.INTER_NEAREST))
    return path


@pytest.fixture(scope='module')
def labels(tmp_path_factory) -> Labels:
    """60 pictures: every third has a cat, every tenth a rare bird, and there is a brighter, smaller copy of the first ten."""
    root = tmp_path_factory.mktemp('set')
    made = Labels(root, ['bird', 'cat', 'dog'])
    for i in range(60):
        names = ['cat' if i % 3 == 0 else 'dog', *(['bird'] if i % 10 == 0 else [])]
        path = draw_picture(root / f'{i:02d}.jpg', i)
        made.pictures[path.name] = Picture(path, boxes=[Box(name, 0, 0, 9, 9) for name in names])
        if i < 10:
            copy = root / f'copy{i:02d}.jpg'
            picture = cv2.resize(cv2.imread(str(path)), (90, 80), interpolation=cv2.INTER_AREA)
            cv2.imwrite(str(copy), cv2.convertScaleAbs(picture, alpha=0.9, beta=20))
            made.pictures[copy.name] = Picture(copy, boxes=made.pictures[path.name].boxes)
    return made


def test_copies_are_found_and_nothing_else(labels):
    groups = [set(group) for group in group_copies(labels) if len(group) > 1]
    assert sorted(map(sorted, groups)) == [[f'{i:02d}.jpg', f'copy{i:02d}.jpg'] for i in range(10)]


def test_each_class_has_its_part_and_copies_stay_together(labels):
    splits, _ = choose_splits(labels, 0.2, seed=1)
    assert sorted([*splits['train'], *splits['val']]) == sorted(labels.pictures)
    assert splits['test'] == splits['val']
    for name, number in labels.counts().items():
        assert labels.counts(splits['val'])[name] == pytest.approx(0.2 * number, abs=2), name
    assert labels.counts(splits['val'])['bird'] >= 1
    for i in range(10):
        assert (f'{i:02d}.jpg' in splits['val']) == (f'copy{i:02d}.jpg' in splits['val'])
    assert choose_splits(labels, 0.2, seed=1)[0] == splits
    assert choose_splits(labels, 0.2, seed=2)[0] != splits


def test_given_splits_are_kept(labels):
    ids = list(labels.pictures)
    given = Labels(labels.root, labels.classes, labels.pictures, dict(trainval=ids[:50], val=ids[40:50], test=ids[50:]))
    assert choose_splits(given)[0] == dict(train=ids[:40], val=ids[40:50], test=ids[50:])
    given.splits = dict(train=ids[:40], test=ids[40:])
    assert choose_splits(given)[0] == dict(train=ids[:40], val=ids[40:], test=ids[40:])
    given.splits = dict(train=ids[:40])
    drawn, _ = choose_splits(given)
    assert sorted([*drawn['train'], *drawn['val']]) == sorted(ids[:40])


def test_too_few_to_split(labels):
    first = dict(list(labels.pictures.items())[:1])
    with pytest.raises(InputError, match='too few'):
        choose_splits(Labels(labels.root, labels.classes, first))
