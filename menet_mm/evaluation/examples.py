"""Pictures of a detector's mistakes: which ones, cut out, and the boxes around them as the page draws them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from mmengine.dataset import BaseDataset

from menet_mm.evaluation.cards import Box, Example, cut, read_picture
from menet_mm.evaluation.outcomes import SIDES, Outcomes

WEAKEST = 0.05  # other detections below it are not drawn
DRAWN = 25  # other detections of a picture, at most
OBJECTS = 100  # objects of a picture, at most


def choose(outcomes: Outcomes, kind: str, threshold: float) -> pd.DataFrame:
    """Rows of ``outcomes`` with all mistakes of a kind, the worst of each class in turn first.

    Detections below ``threshold`` are left out. Of the wrong ones, the surest come first; of ``missed`` objects, the largest.
    """
    if kind == 'missed':
        rows = outcomes.objects[~(outcomes.objects.score >= threshold)]
        worth = (rows.x2 - rows.x1) * (rows.y2 - rows.y1)
    else:
        rows = outcomes.detections[(outcomes.detections.kind == kind) & (outcomes.detections.score >= threshold)]
        worth = rows.score
    rows = rows.assign(worth=worth).sort_values('worth', ascending=False, kind='stable')
    rows = rows.assign(turn=rows.groupby('label').cumcount())
    return rows.sort_values(['turn', 'worth'], ascending=[True, False], kind='stable')


def draw_examples(
    dataset: BaseDataset,
    classes: tuple[str, ...],
    annotations: list[dict],
    outcomes: Outcomes,
    kind: str,
    rows: pd.DataFrame,
) -> Iterator[Example]:
    """Cut out the pictures of chosen rows and place the boxes, with names of ``classes``; raises ``InputError`` if a picture cannot be read."""
    of_image = outcomes.detections[outcomes.detections.image.isin(rows.image)].groupby('image')
    for row in rows.itertuples():
        info = dataset.get_data_info(row.image)
        image = read_picture(info)
        window = find_window(sides := np.array([row.x1, row.y1, row.x2, row.y2]), image.shape[1], image.shape[0])
        example = _describe(kind, row, outcomes, classes, Path(info['img_path']).name)
        example.image, example.size = cut(image, window)
        scale = example.size[0] / (window[2] - window[0])
        place = _Place(window, scale)
        found = of_image.get_group(row.image) if row.image in of_image.groups else outcomes.detections[:0]
        example.boxes = [
            *_truth(annotations[row.image], classes, place),
            *_found(found.drop(index=[row.Index] if kind != 'missed' else []), classes, place),
        ]
        score = None if kind == 'missed' else row.score
        text = classes[row.label] if score is None else f'{classes[row.label]} {score:.2f}'
        example.boxes.append(place.box(sides, 'case', text, score))
        yield example


def find_window(box: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a picture around a box that shows enough beside it: x1, y1, x2, y2 in whole pixels, never empty."""
    whole = np.array([width, height])
    side = max(2.6 * max(box[2] - box[0], box[3] - box[1]), 0.4 * whole.max(), 64)
    size = np.minimum(whole, int(side))
    low = np.clip((box[:2] + box[2:] - size) / 2, 0, whole - size).astype(int)
    return (*low.tolist(), *(low + size).tolist())


def _describe(kind: str, row: tuple, outcomes: Outcomes, classes: tuple[str, ...], name: str) -> Example:
    """An example without its picture, of a row of ``itertuples``."""
    labels, score, mine = (row.label,), float(np.nan_to_num(row.score)), classes[row.label]
    if kind == 'missed':
        text = f'{mine}, found at {score:.2f} only' if score else f'{mine}, found at no score'
    elif kind == 'background':
        text = f'{mine} {score:.2f}'
    else:
        label = int(outcomes.objects.label[row.object])
        labels = tuple(dict.fromkeys((*labels, label)))
        text = f'{mine} {score:.2f}, on {classes[label]} with IoU {row.overlap:.2f}'
    return Example(kind, labels, score, f'{text}; {name}')


class _Place:
    """Brings boxes of a picture into the pixels of the part that is shown."""

    def __init__(self, window: tuple[int, int, int, int], scale: float) -> None:
        self.window, self.scale = window, scale

    def holds(self, sides: np.ndarray) -> np.ndarray:
        """Whether boxes (n, 4) are seen."""
        x1, y1, x2, y2 = self.window
        return (sides[:, 0] < x2) & (sides[:, 2] > x1) & (sides[:, 1] < y2) & (sides[:, 3] > y1)

    def box(self, sides: np.ndarray, role: str, text: str, score: float | None = None) -> Box:
        x1, y1 = self.window[:2]
        left, top, right, bottom = (sides - (x1, y1, x1, y1)) * self.scale
        values = (round(float(value), 1) for value in (left, top, max(right - left, 0), max(bottom - top, 0)))
        return Box(*values, role, text, score)


def _truth(annotation: dict, classes: tuple[str, ...], place: _Place) -> list[Box]:
    boxes = []
    for role, key in (('truth', ''), ('ignored', '_ignore')):
        sides, labels = annotation[f'bboxes{key}'], annotation[f'labels{key}']
        seen = np.flatnonzero(place.holds(sides))[:OBJECTS]
        boxes += [place.box(b, role, classes[label]) for b, label in zip(sides[seen], labels[seen], strict=True)]
    return boxes


def _found(found: pd.DataFrame, classes: tuple[str, ...], place: _Place) -> list[Box]:
    sides = found[SIDES].to_numpy(float)
    seen = found[place.holds(sides) & (found.score >= WEAKEST)].nlargest(DRAWN, 'score')
    return [
        place.box(
            np.array([row.x1, row.y1, row.x2, row.y2]), 'found', f'{classes[row.label]} {row.score:.2f}', row.score
        )
        for row in seen.itertuples()
    ]
