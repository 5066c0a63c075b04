"""Tiles over a picture, and a detector that finds bright blocks in them."""

from collections.abc import Callable
from itertools import pairwise

import cv2
import numpy as np
import pytest

from menet_mm.errors import InputError
from menet_mm.utils.tiles import make_windows, tiled


@pytest.mark.parametrize('size', [(1000, 700), (640, 640), (641, 300), (50, 2000), (1900, 1400)])
@pytest.mark.parametrize('overlap', [0, 0.2, 0.5])
def test_tiles_cover_a_picture_and_share_what_was_asked_for(size, overlap):
    width, height = size
    whole, *tiles = make_windows(width, height, 640, overlap)
    assert whole == (0, 0, width, height)
    assert bool(tiles) == (max(size) > 640)
    seen = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in tiles:
        assert (x2 - x1, y2 - y1) == (min(640, width), min(640, height))
        seen[y1:y2, x1:x2] = True
    assert seen.all() or not tiles
    for axis in (0, 1):
        starts = sorted({tile[axis] for tile in tiles})
        assert all(b - a <= 640 * (1 - overlap) + 1 for a, b in pairwise(starts))


def find_blocks(image: np.ndarray) -> dict[str, np.ndarray]:
    """A detector of white (class 1) and grey (class 0) blocks, which finds also the part of one that it sees."""
    boxes, labels = [], []
    for label, low, high in ((0, 100, 200), (1, 201, 255)):
        _, _, rows, _ = cv2.connectedComponentsWithStats(cv2.inRange(image[..., 0], low, high))
        boxes += [(x, y, x + w, y + h) for x, y, w, h, _ in rows[1:]]
        labels += [label] * (len(rows) - 1)
    scores = np.linspace(0.9, 0.8, len(boxes)) if boxes else np.zeros(0)
    return dict(boxes=np.float32(boxes).reshape(-1, 4), scores=np.float32(scores), labels=np.array(labels, int))


def draw(*blocks: tuple[int, int, int, int, int]) -> np.ndarray:
    picture = np.zeros((500, 700, 3), np.uint8)
    for x1, y1, x2, y2, value in blocks:
        picture[y1:y2, x1:x2] = value
    return picture


def only_small(predict: Callable) -> Callable:
    """A detector that misses what is below a tenth of its picture, as one that resizes does."""

    def detect(image: np.ndarray) -> dict[str, np.ndarray]:
        found = predict(image)
        seen = (found['boxes'][:, 2:] - found['boxes'][:, :2]).max(1, initial=0) >= 0.1 * max(image.shape[:2])
        return {name: value[seen] for name, value in found.items()}

    return detect


def test_each_object_is_found_once_and_complete():
    small = [(10, 10, 50, 50, 255), (180, 190, 220, 225, 255), (230, 100, 260, 130, 120), (640, 440, 690, 490, 120)]
    large = (280, 210, 600, 420, 255)
    picture = draw(*small, large)
    detect = only_small(find_blocks)
    assert len(detect(picture)['boxes']) == 1
    found = tiled(detect, 250, 0.2)(picture)
    rows = {
        (*box, 120 if label == 0 else 255)
        for box, label in zip(found['boxes'].astype(int).tolist(), found['labels'], strict=True)
    }
    rows = {(*map(int, row),) for row in rows}
    assert rows == {*small, large}
    assert len(found['boxes']) == 5
    assert (np.diff(found['scores']) <= 0).all()


def test_objects_of_two_classes_in_one_place_both_stay():
    def both(image: np.ndarray) -> dict[str, np.ndarray]:
        found = find_blocks(image)
        return {
            name: np.concatenate([value, 1 - value if name == 'labels' else value]) for name, value in found.items()
        }

    found = tiled(both, 250, 0.2)(draw((300, 300, 340, 340, 255)))
    assert sorted(found['labels']) == [0, 1]


def test_nothing_and_small_pictures():
    assert tiled(find_blocks, 250, 0.2)(draw())['boxes'].shape == (0, 4)
    calls = []
    tiled(lambda image: calls.append(image.shape) or find_blocks(image), 700, 0.2)(draw())
    assert calls == [(500, 700, 3)]


@pytest.mark.parametrize(
    ('side', 'overlap', 'sentence'),
    [
        (0, 0.2, '--tile must be at least 32 pixels, but got 0'),
        (640, 1.0, '--overlap must lie in 0..0.9, but got 1'),
        (640, float('nan'), '--overlap must lie in 0..0.9, but got nan'),
    ],
)
def test_what_cannot_be_done_is_said(side, overlap, sentence):
    with pytest.raises(InputError, match=sentence):
        tiled(find_blocks, side, overlap)


def test_a_classifier_has_no_use_for_tiles():
    with pytest.raises(InputError, match='--tile is for detectors'):
        tiled(lambda image: dict(scores=np.ones(3) / 3), 640, 0.2)(draw())
