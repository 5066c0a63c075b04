"""What became of each detection and of each object: found, or which kind of mistake.

The kinds follow TIDE (https://arxiv.org/abs/2008.08115). A detection has the first of these that fits:

- ``right``: it finds an object, by the rule of VOC, at an IoU of 0.5, as ``eval_map`` of mmdet counts;
- ``ignored``: it is on an object that is marked as difficult or as a crowd, and counts for nothing;
- ``duplicate``: it is on an object of its class that a stronger detection has found;
- ``confusion``: it is on an object of another class;
- ``near``: it touches an object of its class, at an IoU of 0.1 to 0.5;
- ``background``: none of these.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from mmdet.evaluation.functional import bbox_overlaps
from mmdet.evaluation.functional.mean_ap import tpfp_default

OVERLAP = 0.5  # IoU at which a detection finds an object
TOUCH = 0.1  # IoU from which a detection means an object
SIDES = ['x1', 'y1', 'x2', 'y2']


class Outcomes(NamedTuple):
    """What :func:`find_outcomes` returns; ``image`` is the number of a picture, boxes are in its pixels.

    Attributes:
        detections: ``image``, ``label``, ``score``, the sides, ``kind``, ``object`` (the row of the object it is on, or -1) and
            ``overlap`` (IoU with that).
        objects: ``image``, ``label``, the sides, and ``score`` of the detection that finds it, NaN if none does.
        crossings: pairs of a wrong ``detection`` and an ``object`` (rows of the above) of another class, on which it is, with
            their ``overlap``.
    """

    detections: pd.DataFrame
    objects: pd.DataFrame
    crossings: pd.DataFrame


def find_outcomes(detections: list[list[np.ndarray]], annotations: list[dict]) -> Outcomes:
    """Say of each detection what it is, of each object which detection finds it; of what ``report.match`` returns."""
    rows, objects, crossings = [], [], []
    count = seen = 0  # rows of both tables so far
    for image, (by_class, truth) in enumerate(zip(detections, annotations, strict=True)):
        part = _objects(image, truth)
        for label, found in enumerate(by_class):
            if not len(found):
                continue
            rows.append(_judge(image, label, found, truth, seen))
            right = rows[-1].kind == 'right'
            part.loc[rows[-1].object[right] - seen, 'score'] = rows[-1].score[right].to_numpy()
            crossings.append(_cross(label, rows[-1], found, truth, (count, seen)))
            count += len(found)
        objects.append(part)
        seen += len(part)
    empty = pd.DataFrame(columns=['image', 'label', 'score', *SIDES, 'kind', 'object', 'overlap'])
    crossing = pd.DataFrame(columns=['detection', 'object', 'overlap'])
    return Outcomes(
        pd.concat(rows, ignore_index=True) if rows else empty.astype({'label': int, 'score': float, 'object': int}),
        pd.concat(objects, ignore_index=True),
        pd.concat(crossings, ignore_index=True) if crossings else crossing,
    )


def _objects(image: int, truth: dict) -> pd.DataFrame:
    table = pd.DataFrame(truth['bboxes'].reshape(-1, 4), columns=SIDES).astype(float)
    return table.assign(image=image, label=truth['labels'], score=np.nan)


def _overlaps(found: np.ndarray, truth: dict) -> np.ndarray:
    """IoU of each detection with each object, (n, m), as VOC measures it."""
    return bbox_overlaps(found[:, :4], truth['bboxes'], use_legacy_coordinate=True)


def _judge(image: int, label: int, found: np.ndarray, truth: dict, seen: int) -> pd.DataFrame:
    """The rows of the detections of one class in one picture; ``seen`` objects are in pictures before it."""
    mine, hard = truth['labels'] == label, truth['labels_ignore'] == label
    right, wrong = tpfp_default(
        found, truth['bboxes'][mine], truth['bboxes_ignore'][hard], iou_thr=OVERLAP, use_legacy_coordinate=True
    )
    right, wrong = right[0] > 0, wrong[0] > 0
    overlaps = _overlaps(found, truth)
    same, other = np.where(mine, overlaps, 0), np.where(mine, 0, overlaps)
    best_same, best_other = same.max(1, initial=0), other.max(1, initial=0)
    kind = np.select(
        [right, ~wrong, best_same >= OVERLAP, best_other >= OVERLAP, best_same >= TOUCH],
        ['right', 'ignored', 'duplicate', 'confusion', 'near'],
        'background',
    )
    crossed, alone = kind == 'confusion', np.isin(kind, ('background', 'ignored'))
    at = np.where(crossed, other.argmax(1), same.argmax(1)) if len(mine) else np.zeros(len(found), int)
    table = pd.DataFrame(found[:, :4], columns=SIDES).astype(float)
    return table.assign(
        image=image,
        label=label,
        score=found[:, 4].astype(float),
        kind=kind,
        object=np.where(alone, -1, at + seen),
        overlap=np.where(alone, 0, np.where(crossed, best_other, best_same)),
    )


def _cross(label: int, rows: pd.DataFrame, found: np.ndarray, truth: dict, start: tuple[int, int]) -> pd.DataFrame:
    """Pairs of wrong detections and objects of other classes; ``start`` are the first rows of both."""
    wrong = ~rows.kind.isin(('right', 'ignored')).to_numpy()
    overlaps = _overlaps(found, truth)
    first, second = np.nonzero((overlaps >= OVERLAP) & wrong[:, None] & (truth['labels'] != label))
    pairs = dict(detection=first + start[0], object=second + start[1], overlap=overlaps[first, second])
    return pd.DataFrame(pairs)
