"""The report of a classifier: accuracy by class as a table, and one page of all."""

from pathlib import Path
from typing import Any

import pandas as pd
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from menet_mm.errors import InputError
from menet_mm.evaluation.accuracy import (
    accuracy_by_class,
    confused_pairs,
    confusion_counts,
    match_answers,
    rank_mistakes,
)
from menet_mm.evaluation.calibration import plot_scores
from menet_mm.evaluation.cards import BUDGET, Example, cut, read_picture
from menet_mm.evaluation.curves import plot_curves, read_log
from menet_mm.evaluation.facts import describe_run, name_checkpoint
from menet_mm.evaluation.predictions import read_answers
from menet_mm.evaluation.rendering import describe_matrix, draw_curves, shorten, write_page
from menet_mm.utils.files import write_text

SHOWN = 120  # pictures of mistakes, at most
MATRIX = 30  # classes up to which there is a confusion matrix
PAIRS = 30  # pairs of classes in the table of those most confused
PRINTED = 40  # classes up to which the table by class is printed


def write_report(cfg: Config, predictions: Path, work_dir: Path) -> None:
    """Write ``report.html``, ``accuracy_by_class.csv``, ``facts.json`` and ``curves.png`` into ``work_dir/report``, and print the accuracy.

    ``predictions`` are by ``tools/test.py --out``. ``InputError`` if there is no log, or they or the pictures do not fit.
    """
    log, found = read_log(work_dir), read_answers(predictions)
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, '_scope_': 'mmpretrain'})
    classes, answers = match_answers(dataset, found)
    table, out = accuracy_by_class(classes, answers), work_dir / 'report'
    results = describe_results(dataset, classes, answers, table)
    out.mkdir(exist_ok=True)
    plot_curves(log, out / 'curves.png')
    write_text(out / 'accuracy_by_class.csv', table.to_csv(index=False, float_format='%.4f'))
    write_page(
        out / 'report.html',
        'classifier.html.jinja',
        title=f'{Path(cfg.filename or work_dir).stem}: {len(dataset)} pictures',
        curves=draw_curves(log),
        **describe_run(cfg, work_dir, found, out),
        **results,
    )
    shown = table if len(classes) <= PRINTED else table.tail(1)
    print(f'accuracy in percent, of {len(dataset)} pictures of {len(classes)} classes:')
    print(shown.to_string(index=False, na_rep='-', float_format='{:.2f}'.format))
    print(f'checkpoint:        {name_checkpoint(work_dir)}')
    print(f'page of all:       {out / "report.html"}')
    print(f'accuracy by class: {out / "accuracy_by_class.csv"}')
    print(f'curves:            {out / "curves.png"}')


def describe_results(
    dataset: BaseDataset, classes: tuple[str, ...], answers: pd.DataFrame, table: pd.DataFrame
) -> dict[str, Any]:
    """Compute and draw what the page says of the results.

    Args:
        dataset: the test set; raises ``InputError`` if one of its pictures cannot be read.
        classes, answers: what ``accuracy.match_answers`` returns.
        table: what ``accuracy.accuracy_by_class`` returns.
    """
    names = tuple(shorten(name) for name in classes)
    pairs, mistakes = confused_pairs(answers), rank_mistakes(answers)
    matrix = None
    if len(names) <= MATRIX:
        counts = confusion_counts(answers, len(names))
        matrix = describe_matrix(counts, counts.sum(1, keepdims=True), names, names)
    of_class = answers.groupby('truth').size()
    rows = [
        dict(truth=names[truth], found=names[found], count=count, share=count / of_class[truth])
        for truth, found, count in pairs.head(PAIRS).itertuples(index=False)
    ]
    return dict(
        total=table.iloc[-1].to_dict(),
        balanced=table.accuracy[:-1].mean(),
        rows=table.iloc[:-1].assign(**{'class': names}).to_dict('records'),
        plots=plot_scores(answers.score, answers.right, 'answers'),
        matrix=matrix,
        pairs=rows,
        pairs_left=len(pairs) - len(rows),
        mistakes=len(mistakes),
        examples=draw_mistakes(dataset, names, mistakes.head(SHOWN)),
    )


def draw_mistakes(dataset: BaseDataset, classes: tuple[str, ...], mistakes: pd.DataFrame) -> list[Example]:
    """Draw the pictures of mistakes, small; those that would make the page too large are left out."""
    examples: list[Example] = []
    used = 0
    for row in mistakes.itertuples():
        info = dataset.get_data_info(row.Index)
        if not isinstance(info.get('img_path'), str):
            raise InputError(
                'the pictures of the test set are no files, so that they cannot be shown: give another one'
            )
        image = read_picture(info)
        truth, found = classes[row.truth], classes[row.found]
        text = f'{truth}, taken for {found} {row.score:.2f} ({truth} {row.own:.2f}); {Path(info["img_path"]).name}'
        address, size = cut(image, (0, 0, image.shape[1], image.shape[0]))
        used += len(address)
        if used > BUDGET:
            break
        examples.append(Example('wrong', (row.truth, row.found), row.score, text, address, size))
    return examples
