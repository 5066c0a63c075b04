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
    count = seen = 0  # rows of the first two tables so far
    for image, (by_class, truth) in enumerate(zip(detections, annotations, strict=True)):
        scores = np.full(len(truth['labels']), np.nan)
        for label, found in enumerate(by_class):
            if not len(found):
                continue
            overlaps = bbox_overlaps(found[:, :4], truth['bboxes'], use_legacy_coordinate=True)
            kind, at, overlap = _judge(label, found, truth, overlaps)
            scores[at[kind == 'right']] = found[kind == 'right', 4]
            place = np.where(at < 0, -1, at + seen)
            rows.append(dict(_boxes(image, label, found), score=found[:, 4], kind=kind, object=place, overlap=overlap))
            wrong = ~np.isin(kind, ('right', 'ignored'))
            one, other = np.nonzero((overlaps >= OVERLAP) & wrong[:, None] & (truth['labels'] != label))
            crossings.append(dict(detection=one + count, object=other + seen, overlap=overlaps[one, other]))
            count += len(found)
        objects.append(dict(_boxes(image, truth['labels'], truth['bboxes']), score=scores))
        seen += len(scores)
    boxes = dict(image=int, label=int, **dict.fromkeys(SIDES, float), score=float)
    return Outcomes(
        _table(rows, boxes | dict(kind=object, object=int, overlap=float)),
        _table(objects, boxes),
        _table(crossings, dict(detection=int, object=int, overlap=float)),
    )


def _boxes(image: int, label: int | np.ndarray, rows: np.ndarray) -> dict[str, np.ndarray]:
    sides = dict(zip(SIDES, rows[:, :4].T, strict=True))
    return dict(sides, image=np.full(len(rows), image), label=np.broadcast_to(label, len(rows)))


def _table(parts: list[dict[str, np.ndarray]], types: dict[str, type]) -> pd.DataFrame:
    """Join parts, of which there may be none."""
    return pd.DataFrame(
        {name: np.concatenate([part[name] for part in parts] or [[]]).astype(kind) for name, kind in types.items()}
    )


def _judge(
    label: int, found: np.ndarray, truth: dict, overlaps: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kind, object (its number in the picture, or -1) and IoU of the detections (n, 5) of one class in one picture."""
    mine, hard = truth['labels'] == label, truth['labels_ignore'] == label
    right, wrong = tpfp_default(
        found, truth['bboxes'][mine], truth['bboxes_ignore'][hard], iou_thr=OVERLAP, use_legacy_coordinate=True
    )
    right, wrong = right[0] > 0, wrong[0] > 0
    same, other = np.where(mine, overlaps, 0), np.where(mine, 0, overlaps)
    best_same, best_other = same.max(1, initial=0), other.max(1, initial=0)
    kind = np.select(
        [right, ~wrong, best_same >= OVERLAP, best_other >= OVERLAP, best_same >= TOUCH],
        ['right', 'ignored', 'duplicate', 'confusion', 'near'],
        'background',
    )
    crossed, alone = kind == 'confusion', np.isin(kind, ('background', 'ignored'))
    at = np.where(crossed, other.argmax(1), same.argmax(1)) if len(mine) else np.zeros(len(found), int)
    return kind, np.where(alone, -1, at), np.where(alone, 0, np.where(crossed, best_other, best_same))
