"""Large pictures in overlapping tiles, so that a detector sees small objects at a size that it has learnt; without torch."""

from collections.abc import Callable, Sequence
from math import ceil

import cv2
import numpy as np

from menet_mm.errors import InputError

#: Results for a picture: ``boxes`` (n, 4) as x1, y1, x2, y2 in pixels, ``scores`` (n,), ``labels`` (n,).
Found = dict[str, np.ndarray]
Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the picture

IOU = 0.5  # of two boxes of a class, above which the one with the lower score goes
MARGIN = 2  # pixels from a tile's edge within which a box counts as cut off by it


def check_tiles(side: int, overlap: float) -> None:
    """Raise ``InputError`` if there can be no tiles of ``side`` pixels that share at least ``overlap`` of it."""
    if side < 32:
        raise InputError(f'--tile must be at least 32 pixels, but got {side}')
    if not 0 <= overlap <= 0.9:
        raise InputError(f'--overlap must lie in 0..0.9, but got {overlap:g}')


def make_windows(width: int, height: int, side: int, overlap: float) -> list[Window]:
    """Return the whole picture and, if it is larger than a tile, tiles of ``side`` pixels, at most, spread evenly over it.

    Neighbours share at least ``overlap`` of a side. The whole picture is for objects that no tile holds.
    """
    check_tiles(side, overlap)

    def starts(length: int) -> list[int]:
        steps = ceil(max(0, length - side) / (side * (1 - overlap)))
        return [round(i * (length - side) / steps) for i in range(steps + 1)] if steps else [0]

    tiles = [(x, y, min(x + side, width), min(y + side, height)) for y in starts(height) for x in starts(width)]
    return [(0, 0, width, height), *(tiles if len(tiles) > 1 else ())]


def merge(found: Sequence[Found], windows: Sequence[Window], shared: float) -> Found:
    """Merge what was found in each of :func:`make_windows` into results for the whole picture, best first.

    An object of no more than ``shared`` pixels, what neighbours share, is complete in one tile at least. So a box that a tile's
    inner edge cuts off is left out, and of the whole picture only longer objects count. Of boxes of one class that overlap,
    the best stays.
    """
    if len(windows) == 1:
        return found[0]
    width, height = windows[0][2:]
    parts = []
    for each, (x1, y1, x2, y2) in zip(found, windows, strict=True):
        edges = np.array([x1 or -MARGIN, y1 or -MARGIN, x2 if x2 < width else np.inf, y2 if y2 < height else np.inf])
        boxes = each['boxes'].reshape(-1, 4) + np.float32([x1, y1, x1, y1])
        whole = (boxes[:, :2] >= edges[:2] + MARGIN).all(1) & (boxes[:, 2:] <= edges[2:] - MARGIN).all(1)
        if not parts:
            whole &= (boxes[:, 2:] - boxes[:, :2]).max(1, initial=0) > shared
        parts.append((boxes[whole], each['scores'][whole], each['labels'][whole]))
    boxes, scores, labels = map(np.concatenate, zip(*parts, strict=True))
    if not len(boxes):
        return dict(boxes=boxes, scores=scores, labels=labels)
    corners = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]).astype(float)
    kept = cv2.dnn.NMSBoxesBatched(corners, scores.astype(np.float32), labels.astype(np.int32), 0, IOU)
    kept = np.asarray(kept, int)
    kept = kept[np.argsort(-scores[kept], kind='stable')]
    return dict(boxes=boxes[kept], scores=scores[kept], labels=labels[kept])


def tiled(predict: Callable[[np.ndarray], Found], side: int, overlap: float) -> Callable[[np.ndarray], Found]:
    """Make a function of a picture (H, W, 3) that runs ``predict`` on :func:`make_windows` and merges the results.

    Raises ``InputError``, as :func:`check_tiles`, and at the first picture if ``predict`` is a classifier's.
    """
    check_tiles(side, overlap)

    def detect(image: np.ndarray) -> Found:
        windows = make_windows(image.shape[1], image.shape[0], side, overlap)
        found = []
        for x1, y1, x2, y2 in windows:
            found.append(predict(np.ascontiguousarray(image[y1:y2, x1:x2])))
            if 'boxes' not in found[0]:
                raise InputError('--tile is for detectors, but this model is a classifier: leave it out')
        return merge(found, windows, side * overlap)

    return detect
