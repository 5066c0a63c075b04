"""Numbers of a detector besides AP at one IoU: precision and recall, the best threshold, confusion, COCO's AP."""

import io
from contextlib import redirect_stdout
from typing import NamedTuple

import numpy as np
import pandas as pd
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from menet_mm.evaluation.outcomes import Outcomes

SIZES = ('all', 'small', 'medium', 'large')  # of COCO: areas under 32 x 32 px, under 96 x 96, and above


class Point(NamedTuple):
    """What a detector does if detections below ``score`` are left out: shares from 0 to 1."""

    score: float
    f1: float
    precision: float
    recall: float


def count_down(detections: pd.DataFrame) -> pd.DataFrame:
    """Right and wrong detections at or above each ``score``, highest first; of ``Outcomes.detections``."""
    counted = detections[detections.kind != 'ignored']
    table = pd.DataFrame(dict(score=counted.score, right=counted.kind == 'right', wrong=counted.kind != 'right'))
    return table.groupby('score').sum().sort_index(ascending=False).cumsum().reset_index()


def precision_recall(detections: pd.DataFrame, objects: int) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at each score, highest score first; nothing where there are no ``objects``."""
    table = count_down(detections)
    if not objects:
        return np.zeros(0), np.zeros(0)
    return (table.right / objects).to_numpy(), (table.right / (table.right + table.wrong)).to_numpy()


def best_point(detections: pd.DataFrame, objects: int) -> Point | None:
    """The threshold with the highest F1; None if nothing is found at any."""
    table = count_down(detections)
    if not objects or not table.right.any():
        return None
    f1 = 2 * table.right / (objects + table.right + table.wrong)
    best = table.loc[f1.idxmax()]
    return Point(float(best.score), float(f1.max()), best.right / (best.right + best.wrong), best.right / objects)


def confusion_matrix(outcomes: Outcomes, classes: int, threshold: float) -> np.ndarray:
    """Count objects of a class (row) that are found as a class (column), (classes + 1, classes + 1); the last is the background.

    Detections below ``threshold`` are left out. Each object and each detection counts once: right ones first, then pairs of
    different classes on each other, those that overlap most first. What is left is background.
    """
    found = outcomes.detections[outcomes.detections.score >= threshold]
    objects, background = outcomes.objects, classes
    matrix = np.zeros((classes + 1, classes + 1), int)
    right = objects.score >= threshold
    np.add.at(matrix, (objects.label[right], objects.label[right]), 1)
    free, used = set(objects.index[~right]), set()
    pairs = outcomes.crossings[outcomes.crossings.detection.isin(found.index)]
    for pair in pairs.sort_values('overlap', ascending=False, kind='stable').itertuples():
        if pair.object in free and pair.detection not in used:
            free.remove(pair.object)
            used.add(pair.detection)
            matrix[objects.label[pair.object], found.label[pair.detection]] += 1
    np.add.at(matrix, (objects.label[sorted(free)], background), 1)
    wrong = found[~found.kind.isin(('right', 'ignored')) & ~found.index.isin(used)]
    np.add.at(matrix, (background, wrong.label), 1)
    return matrix


def coco_ap(detections: list[list[np.ndarray]], annotations: list[dict]) -> tuple[dict[str, float], pd.DataFrame]:
    """Compute COCO's AP with pycocotools, of what ``report.match`` returns; objects that are ignored count as crowds.

    Returns the mean over classes, as ``tools/test.py`` gives it for COCO data (``AP``, ``AP50``, ``AP75``, ``small``, ``medium``,
    ``large``), and the AP of each class (row) at 0.5:0.95 by size (:data:`SIZES`), NaN where there are no objects.
    """
    truth, found = [], []
    for image, (by_class, annotation) in enumerate(zip(detections, annotations, strict=True)):
        for key, crowd in (('', 0), ('_ignore', 1)):
            boxes = zip(annotation[f'bboxes{key}'], annotation[f'labels{key}'], strict=True)
            truth += [_entry(image, label, box, iscrowd=crowd) for box, label in boxes]
        found += [_entry(image, label, row, score=float(row[4])) for label, rows in enumerate(by_class) for row in rows]
    with redirect_stdout(io.StringIO()):  # it prints each step
        evaluation = COCOeval(*(_index(e, len(detections), len(detections[0])) for e in (truth, found)), 'bbox')
        evaluation.params.maxDets = [100, 300, 1000]  # of a picture, as mmdet's CocoMetric has them
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    by_class = evaluation.eval['precision'][..., 0].mean((0, 1))  # of (IoU, recall, class, size); -1 without objects
    by_class[by_class < 0] = np.nan
    names = ('AP', 'AP50', 'AP75', *SIZES[1:])
    totals = {
        name: float(value) if value >= 0 else np.nan for name, value in zip(names, evaluation.stats, strict=False)
    }
    return totals, pd.DataFrame(by_class, columns=SIZES)


def _entry(image: int, label: int, box: np.ndarray, iscrowd: int = 0, **more: float) -> dict:
    x1, y1, x2, y2 = map(float, box[:4])
    width, height = x2 - x1, y2 - y1
    return dict(
        more, image_id=image, category_id=int(label), bbox=[x1, y1, width, height], area=width * height, iscrowd=iscrowd
    )


def _index(entries: list[dict], images: int, classes: int) -> COCO:
    coco = COCO()
    for number, entry in enumerate(entries, 1):
        entry['id'] = number
    coco.dataset = dict(
        annotations=entries,
        images=[dict(id=image) for image in range(images)],
        categories=[dict(id=label) for label in range(classes)],
    )
    coco.createIndex()
    return coco
