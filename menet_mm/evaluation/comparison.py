"""Several runs beside each other on one page: settings that differ, results, curves, time."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes

from menet_mm.errors import InputError
from menet_mm.evaluation.curves import PLOTTED, find_unit, training_rows, validation_rows
from menet_mm.evaluation.groups import Cell, Group, find_differences, find_groups, tabulate
from menet_mm.evaluation.intervals import MIN_SEEDS
from menet_mm.evaluation.rendering import shorten, to_svg, write_page
from menet_mm.evaluation.runs import TABLES, Run, measure, measure_time, read_run

TEXT = 300  # characters of a value of the config
SETTINGS = 200  # settings that are shown
CLASSES = 1000  # classes that are shown
METRICS = 6  # metrics whose curves are drawn
POINTS = 400  # of a curve
LEGEND = 28  # characters of a group's name in a plot


def write_comparison(work_dirs: Sequence[Path], path: Path) -> None:
    """Write a page of several runs, and print the results.

    Args:
        work_dirs: of trainings; the first one is of the group with which the others are compared.
        path: page to write.

    Raises:
        InputError: if there are fewer than two, one is no folder or stands twice, or none has a training log or results.
    """
    runs = read_runs(work_dirs)
    groups = find_groups(runs)
    content = describe(groups)
    write_page(path, 'comparison.html.jinja', title=f'{len(runs)} runs beside each other', **content)
    for group in groups:
        print(f'{group.name}: {", ".join(run.name for run in group.runs)}')
    shown = {row['name']: [_print(cell) for cell in row['cells']] for row in content['results']}
    names = [group.name for group in groups]
    print(pd.DataFrame.from_dict(shown, 'index', columns=names).to_string())
    for run in runs:
        for note in run.notes:
            print(f'note: {note}')
    print(f'page: {path}')


def read_runs(work_dirs: Sequence[Path]) -> list[Run]:
    """Read the runs; see :func:`write_comparison` for what is refused."""
    whole = [os.path.abspath(folder) for folder in work_dirs]
    if len(whole) < 2:
        raise InputError('--compare takes two work dirs or more')
    if twice := next((folder for folder in whole if whole.count(folder) > 1), None):
        raise InputError(f'{twice} stands twice in --compare: give each work dir once')
    common = os.path.commonpath(whole)
    runs = [
        read_run(folder, shorten(os.path.relpath(there, common), 100))
        for folder, there in zip(work_dirs, whole, strict=True)
    ]
    if all(run.log is None and not run.by_class for run in runs):
        raise InputError(
            f'none of the {len(runs)} folders has a training log or a report: give the work dirs of trainings'
        )
    return runs


def describe(groups: list[Group]) -> dict[str, Any]:
    """What the page says."""
    runs = [run for group in groups for run in group.runs]
    results, differences = tabulate(groups, measure), find_differences(groups)
    return dict(
        groups=groups,
        main=next(iter(results), None),
        rows=[dict(run=run, group=group.name, figures=measure(run)) for group in groups for run in group.runs],
        results=_rows(results),
        by_class=[
            dict(title=table.title, rows=_rows(cells), left_out=left_out)
            for table in TABLES
            for cells, left_out in [_by_class(groups, table.file)]
            if cells
        ],
        time=_rows(tabulate(groups, measure_time)),
        counts=_texts(groups, lambda run: run.counts),
        environment=_texts(groups, lambda run: run.environment, differing=True),
        settings=[
            (shorten(key, TEXT), [value and shorten(value, TEXT) for value in values])
            for key, values in differences[:SETTINGS]
        ],
        settings_left=max(len(differences) - SETTINGS, 0),
        curves=draw_curves(groups),
        notes=[note for run in runs for note in run.notes],
        several=any(len(group.runs) > 1 for group in groups),
        least=MIN_SEEDS,
    )


def _rows(table: dict[str, list[Cell | None]]) -> list[dict[str, Any]]:
    """Rows for the page: shares have three digits, percents two."""
    return [
        dict(name=shorten(name), cells=cells, digits=2 if max(abs(cell.mean) for cell in cells if cell) >= 10 else 3)
        for name, cells in table.items()
    ]


def _by_class(groups: list[Group], file: str) -> tuple[dict[str, list[Cell | None]], int]:
    """Cells by class, of so many classes as are shown, and how many are left out."""
    tables = [run.by_class[file][:-1] for group in groups for run in group.runs if file in run.by_class]
    classes = list(dict.fromkeys(name for table in tables for name in table.index))
    shown = set(classes[:CLASSES])

    def read(run: Run) -> dict[str, float]:
        return {name: value for name, value in run.by_class.get(file, pd.Series())[:-1].items() if name in shown}

    return tabulate(groups, read), len(classes) - len(shown)


def _texts(
    groups: list[Group], read: Callable[[Run], dict[str, str]], differing: bool = False
) -> list[tuple[str, list[str | None]]]:
    """Facts by name: the text of each group, or its several texts; of ``differing`` ones only."""
    by_group = [[read(run) for run in group.runs] for group in groups]
    facts = [one for members in by_group for one in members]
    rows = []
    for name in dict.fromkeys(name for one in facts for name in one if name not in ('seed', 'trained')):
        if not differing or len({one[name] for one in facts if name in one}) > 1:
            texts = [dict.fromkeys(one[name] for one in members if name in one) for members in by_group]
            rows.append((name, ['; '.join(one) or None for one in texts]))
    return rows


def _print(cell: Cell | None) -> str:
    if cell is None:
        return '-'
    difference, width = cell.difference.mean, cell.difference.interval
    parts = [
        f'{cell.mean:.3f}',
        f'({difference:+.3f}' if cell.difference.pairs else '',
        f'± {width:.3f}' if width == width else '',
    ]
    return ' '.join(filter(None, parts)) + ')' * (cell.difference.pairs > 0)


def draw_curves(groups: list[Group]) -> list[Markup]:
    """Loss, learning rate and metrics of all runs over each other, a colour for each group."""
    logs = [run.log for group in groups for run in group.runs if run.log is not None]
    metrics = [name for log in logs for name in log.dropna(axis=1, how='all') if name.startswith(PLOTTED)]
    wanted = ['loss', 'lr', *list(dict.fromkeys(metrics))[:METRICS]]
    wanted = [name for name in wanted if any(name in log for log in logs)]
    return [to_svg(lambda axis, name=name: _overlay(axis, groups, name)) for name in wanted]


def _overlay(axis: Axes, groups: list[Group], name: str) -> None:
    units, colours = set(), matplotlib.color_sequences['tab10']
    for number, group in enumerate(groups):
        label: str | None = shorten(group.name, LEGEND)
        for log in (run.log for run in group.runs if run.log is not None and name in run.log):
            unit, steps = find_unit(log)
            of_validation = name.startswith(PLOTTED)
            rows = validation_rows(log, name) if of_validation else training_rows(log)
            rows = rows.iloc[:: -max(1, -(-len(rows) // POINTS))]  # from the end, so that the last point is there
            x = rows.step if of_validation else rows.iter / steps
            marker = 'o' if of_validation else None
            axis.plot(x, rows[name], marker=marker, markersize=3, linewidth=1, color=colours[number % 10], label=label)
            units.add(unit)
            label = None
    axis.set(
        xlabel=' or '.join(sorted(units)), ylabel=dict(loss='training loss', lr='learning rate').get(name, name[:40])
    )
