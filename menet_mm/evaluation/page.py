"""The report of a detector as one HTML page that needs nothing beside it.

Names of classes and files, and the log, may come from anywhere: Jinja2 escapes all text, and the page's policy lets the browser
run the page's own script alone and load nothing.
"""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mmengine.dataset import BaseDataset

from menet_mm.evaluation.curves import CURVES, finish
from menet_mm.evaluation.examples import BUDGET, Example, choose, draw_examples
from menet_mm.evaluation.measures import Point, best_point, calibration, coco_ap, confusion_matrix, precision_recall
from menet_mm.evaluation.outcomes import Outcomes, find_outcomes
from menet_mm.utils.files import write_text
from menet_mm.utils.html import STYLE

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
NAME = 60  # characters of a class's name
MATRIX = 40  # classes of the confusion matrix
HERE = Path(__file__).parent


def write_page(path: Path, **content: Any) -> None:
    """Fill the template with ``title``, what ``facts`` finds, and what :func:`describe_results` returns, and write it."""
    script = Markup((HERE / 'report.js').read_text())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters['number'] = format_number
    template = environment.get_template('report.html.jinja')
    style = Markup(STYLE + (HERE / 'report.css').read_text())
    write_text(
        path,
        template.render(
            content, style=style, script=script, digest=digest, kinds=KINDS, explained=EXPLAINED, quote=quote
        ),
    )


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number; a dash for none."""
    return '-' if value is None or np.isnan(value) else f'{value:.{digits}f}'


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
    classes = tuple(_shorten(name) for name in dataset.metainfo['classes'])
    outcomes = find_outcomes(detections, annotations)
    totals, by_class = coco_ap(detections, annotations)
    point = best_point(outcomes.detections, len(outcomes.objects))
    threshold = point.score if point else USUAL_SCORE
    table = table.assign(**{'class': [*classes, 'mean']})
    return dict(
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


def _shorten(name: str) -> str:
    return name if len(name) <= NAME else f'{name[:NAME]}...'


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
    shares = part / np.maximum(matrix.sum(1)[[*shown, len(classes)], None], 1)
    lines = [
        dict(
            name=name,
            cells=[dict(count=c, share=s, right=row == i) for i, (c, s) in enumerate(zip(*both, strict=True))],
        )
        for row, (name, *both) in enumerate(zip(names, part.tolist(), shares.round(3).tolist(), strict=True))
    ]
    return dict(names=names, lines=lines, left_out=len(classes) - len(shown))


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
    table, error = calibration(outcomes.detections)

    def draw_calibration(axis: Axes) -> None:
        axis.plot([0, 1], [0, 1], color='grey', linestyle=':', label='scores that say the truth')
        axis.plot(table.score, table.right, marker='o', label='detections, in tenths of the score')
        axis.set(xlabel='score', ylabel='share of right detections', xlim=(0, 1), ylim=(0, 1))

    def draw_scores(axis: Axes) -> None:
        counted = outcomes.detections[outcomes.detections.kind != 'ignored']
        right = counted.kind == 'right'
        axis.hist([counted.score[right], counted.score[~right]], np.linspace(0, 1, 41), label=['right', 'wrong'])
        axis.set(xlabel='score', ylabel='detections', xlim=(0, 1), yscale='log' if len(counted) else 'linear')
        axis.yaxis.set_major_formatter('{x:g}')  # the usual one of such a scale writes formulas
        if point:
            axis.axvline(point.score, color='black', label=f'best F1, at {point.score:.2f}')

    curves = [to_svg(lambda axis, plot=plot: plot(axis, log)) for plot in CURVES]
    return dict(curves=curves, calibration=to_svg(draw_calibration), scores=to_svg(draw_scores), error=error)


def to_svg(draw: Callable[[Axes], None]) -> Markup:
    """Draw a small plot, as an SVG that stands in a page; its text is never read as a formula."""
    settings = {'svg.fonttype': 'none', 'text.parse_math': False, 'font.family': 'sans-serif', 'svg.hashsalt': 'report'}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.6, 3.2), layout='constrained')
        draw(axis := figure.subplots())
        finish(axis)
        file = io.StringIO()
        figure.savefig(file, format='svg', metadata=dict(Date=None))
    text = file.getvalue()
    return Markup(text[text.index('<svg') :])  # matplotlib escapes the text in it
