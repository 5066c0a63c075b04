"""The report of a detector as one HTML page that needs nothing beside it."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from mmengine.dataset import BaseDataset

from menet_mm.evaluation.calibration import plot_scores
from menet_mm.evaluation.cards import BUDGET, Example
from menet_mm.evaluation.examples import choose, draw_examples
from menet_mm.evaluation.measures import Point, best_point, coco_ap, confusion_matrix, precision_recall
from menet_mm.evaluation.outcomes import Outcomes, find_outcomes
from menet_mm.evaluation.rendering import describe_matrix, draw_curves, shorten

#: Kinds of mistakes, in the page's words and order.
KINDS = {
    'background': 'False alarm',
    'missed': 'Missed',
    'near': 'Near miss',
    'duplicate': 'Duplicate',
    'confusion': 'Other class',
}
EXPLAINED = {
    'background': 'a detection that touches no object of its class, and is on none of another',
    'missed': 'an object that no detection finds',
    'near': 'a detection that touches an object of its class with an IoU of 0.1 to 0.5',
    'duplicate': 'a detection on an object of its class that a stronger one has found',
    'confusion': 'a detection on an object of another class, with an IoU of 0.5 or more',
}
SHOWN = 24  # pictures of a kind
USUAL_SCORE = 0.3  # threshold where there is no best one
MATRIX = 40  # classes of the confusion matrix


def describe_results(
    dataset: BaseDataset, detections: list, annotations: list[dict], table: pd.DataFrame, log: pd.DataFrame
) -> dict[str, Any]:
    """Compute and draw what the page says of the results.

    Args:
        dataset: the test set; raises ``InputError`` if one of its pictures cannot be read.
        detections, annotations: what ``report.match`` returns.
        table: what ``report.ap_by_class`` returns.
        log: of the training.
    """
    classes = tuple(shorten(name) for name in dataset.metainfo['classes'])
    outcomes = find_outcomes(detections, annotations)
    totals, by_class = coco_ap(detections, annotations)
    point = best_point(outcomes.detections, len(outcomes.objects))
    threshold = point.score if point else USUAL_SCORE
    table = table.assign(**{'class': [*classes, 'mean']})
    return dict(
        kinds=KINDS,
        explained=EXPLAINED,
        pictures=len(dataset),
        mean=table.iloc[-1].to_dict(),
        coco=totals,
        point=point,
        threshold=threshold,
        slider=int(threshold * 100) / 100,
        rows=class_rows(table, by_class, outcomes),
        plots=plots(log, outcomes, point),
        matrix=matrix_rows(classes, outcomes, threshold),
        **draw_all(dataset, classes, annotations, outcomes, threshold),
    )


def class_rows(table: pd.DataFrame, coco: pd.DataFrame, outcomes: Outcomes) -> list[dict]:
    """A row for each class: AP, the best threshold, and the precision-recall curve as points of an SVG of 100 x 100."""
    rows = []
    for label, row in enumerate(table.iloc[:-1].to_dict('records')):
        mine = outcomes.detections[outcomes.detections.label == label]
        recall, precision = precision_recall(mine, row['objects'])
        sizes = {f'coco_{size}': value for size, value in coco.loc[label].items()}
        point = best_point(mine, row['objects']) or Point(*[float('nan')] * 4)
        rows.append({**row, **sizes, 'best': point, 'curve': _curve(recall, precision)})
    return rows


def _curve(recall: np.ndarray, precision: np.ndarray) -> str:
    """At most a hundred points: the last one of each hundredth of recall."""
    last = np.unique(np.searchsorted(recall, np.linspace(0, 1, 101), side='right') - 1)
    return ' '.join(f'{100 * recall[i]:.1f},{100 - 100 * precision[i]:.1f}' for i in last[last >= 0])


def matrix_rows(classes: tuple[str, ...], outcomes: Outcomes, threshold: float) -> dict[str, Any]:
    """The confusion matrix for the page: of the classes with most mistakes, if there are many."""
    matrix = confusion_matrix(outcomes, len(classes), threshold)
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    shown = sorted(np.argsort(-wrong[:-1], kind='stable')[:MATRIX].tolist())
    names = [*(classes[label] for label in shown), 'background']
    part = matrix[np.ix_([*shown, len(classes)], [*shown, len(classes)])]
    totals = matrix.sum(1)[[*shown, len(classes)], None]
    return describe_matrix(part, totals, names, [*names[:-1], 'missed']) | dict(left_out=len(classes) - len(shown))


def draw_all(
    dataset: BaseDataset, classes: tuple[str, ...], annotations: list[dict], outcomes: Outcomes, threshold: float
) -> dict[str, Any]:
    """Examples of each kind, how many mistakes of it there are (``counts``), and how many have a picture (``shown``)."""
    examples: list[Example] = []
    counts, shown = {}, {}
    for kind in KINDS:
        rows, before, used = choose(outcomes, kind, threshold), len(examples), 0
        for example in draw_examples(dataset, classes, annotations, outcomes, kind, rows[:SHOWN]):
            used += len(example.image)
            if used > BUDGET / len(KINDS):  # the rest is left out
                break
            examples.append(example)
        counts[kind], shown[kind] = len(rows), len(examples) - before
    return dict(examples=examples, counts=counts, shown=shown)


def plots(log: pd.DataFrame, outcomes: Outcomes, point: Point | None) -> dict[str, Any]:
    """The curves of the training, and what scores are worth, as SVG; with the expected calibration error."""
    counted = outcomes.detections[outcomes.detections.kind != 'ignored']

    def draw_best(axis: Axes) -> None:
        if point:
            axis.axvline(point.score, color='black', label=f'best F1, at {point.score:.2f}')

    scores = plot_scores(counted.score, counted.kind == 'right', 'detections', draw_best)
    return dict(scores, curves=draw_curves(log))
