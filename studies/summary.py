"""What follows from a study's rows: statistics, the table, the plot, the order of the networks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd

from menet_mm.evaluation.intervals import MIN_SEEDS, interval, paired_difference
from menet_mm.utils.files import atomic_path, write_text
from studies.definition import Study, check_choice

matplotlib.use('Agg')
import matplotlib.pyplot as plt


def summarize(results: pd.DataFrame, metric: str, reference: str) -> pd.DataFrame:
    """Average over seeds, and compare with the reference on the seeds that both have.

    Args:
        results: rows with model, seed, the metric, parameters, mmacs and minutes.
        metric: name of the column that decides.
        reference: model with which the others are compared.

    Returns:
        Best model first: model, seeds, mean, lowest, highest, interval (half of the 95 % interval), paired (number of
        seeds that the reference has, too), difference to the reference with its interval, both of paired differences,
        and parameters, mmacs, minutes (mean).

    Raises:
        InputError: if no column has the metric's name.
    """
    check_choice(metric, list(results.columns), 'the results have no metric')
    by_seed = results.pivot(index='seed', columns='model', values=metric)
    rows = []
    for model, group in results.groupby('model'):
        values = group[metric].to_numpy()
        others = by_seed[reference] if reference in by_seed and model != reference else pd.Series(dtype=float)
        difference = paired_difference(by_seed[model], others)
        rows.append(
            dict(
                model=model,
                seeds=len(values),
                mean=values.mean(),
                lowest=values.min(),
                highest=values.max(),
                interval=interval(values),
                paired=difference.pairs,
                difference=difference.mean,
                difference_interval=difference.interval,
                parameters=group.parameters.iloc[0],
                mmacs=group.mmacs.iloc[0],
                minutes=group.minutes.mean(),
            )
        )
    return pd.DataFrame(rows).sort_values('mean', ascending=False, ignore_index=True)


def to_markdown(summary: pd.DataFrame, reference: str) -> str:
    """Write a summary as a Markdown table; columns that say nothing of any model are left out."""

    def number(value: float, form: str = '.3f', sign: str = '') -> str:
        return '-' if np.isnan(value) else sign + format(value, form)

    columns = {'model': summary.model, 'seeds': summary.seeds.map(str), 'mean': summary['mean'].map(number)}
    if (summary.seeds > 1).any():
        ranges = zip(summary.seeds, summary.lowest, summary.highest, strict=True)
        columns['lowest to highest'] = [f'{low:.3f} to {high:.3f}' if n > 1 else '-' for n, low, high in ranges]
    if summary.interval.notna().any():
        columns['95 % interval'] = [number(value, sign='±') for value in summary.interval]
    columns[f'difference to {reference}'] = [number(value, '+.3f') for value in summary.difference]
    if summary.difference_interval.notna().any():
        columns['its 95 % interval'] = [number(value, sign='±') for value in summary.difference_interval]
    columns['params'] = [f'{value:,}' for value in summary.parameters]
    columns['MMACs'] = [f'{value:.1f}' for value in summary.mmacs]
    columns['minutes'] = [f'{value:.0f}' for value in summary.minutes]
    lines = [columns, ['---'] * len(columns), *zip(*columns.values(), strict=True)]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines).replace(' --- ', '---')


class Order(NamedTuple):
    """Whether the paper's order was seen (None: it cannot be said), and why, in a sentence."""

    seen: bool | None
    why: str


def read_order(summary: pd.DataFrame, rivals: list[str], reference: str, floor: float, unit: str = '') -> Order:
    """Tell what the paired differences to the reference allow to say.

    Args:
        summary: of :func:`summarize`.
        rivals: models over which the paper puts the reference.
        reference: the model that the paper puts first.
        floor: the weakest network's mean below which no order is read.
        unit: of the metric, such as %.
    """
    rows = summary.set_index('model')
    if not {reference, *rivals} <= set(rows.index):
        return Order(None, f'No order is read: not all of {reference}, {", ".join(rivals)} have been trained')
    means = rows.loc[[reference, *rivals], 'mean']
    if means.min() < floor:
        reached = f'reaches only {means.min():.3f}{unit}, and {floor:g}{unit} are needed'
        return Order(None, f'No order is read: the weakest network, {means.idxmin()}, {reached}')
    parts, seen = [], True
    for model in rivals:
        difference, width = -rows.difference[model], rows.difference_interval[model]
        if np.isnan(width):
            common = rows.paired[model]
            shared = f'have {common} seeds in common, and {MIN_SEEDS} are needed'
            return Order(None, f'No order is read: {reference} and {model} {shared}')
        if abs(difference) <= width:
            verdict = 'the interval contains zero'
        else:
            verdict = 'as in the paper' if difference > 0 else "against the paper's order"
        seen = seen and bool(difference > width)
        parts.append(f'{reference} - {model} = {difference:+.3f} ± {width:.3f} ({verdict})')
    return Order(seen, '; '.join(parts))


def plot(summary: pd.DataFrame, path: Path, ylabel: str, paper: dict[str, tuple[float, float]] | None = None) -> None:
    """Plot the metric against multiply-adds. The paper's points stand apart, because they are of other data.

    Bars are 95 % intervals where there are enough seeds, else they go from the lowest to the highest run.

    Args:
        summary: of :func:`summarize`.
        path: picture to write.
        ylabel: the metric's name.
        paper: the paper's figures by network, as (MFLOPs, ILSVRC top-1); a second plot on the right.
    """
    size = (11 if paper else 7, 4.2)
    fig, axes = plt.subplots(1, 2 if paper else 1, figsize=size, layout='constrained', squeeze=False)
    for row in summary.itertuples():
        bars = [[row.mean - row.lowest], [row.highest - row.mean]] if np.isnan(row.interval) else row.interval
        axes[0, 0].errorbar(row.mmacs, row.mean, yerr=bars, fmt='o', capsize=3, label=row.model)
    meaning = '95 % intervals' if summary.interval.notna().all() else 'lowest to highest run'
    title = 'measured' if (summary.seeds == 1).all() else f'measured (bars: {meaning})'
    axes[0, 0].set(xlabel='MMACs (convolutions and linear layer)', ylabel=ylabel, title=title)
    for name, (mflops, top1) in (paper or {}).items():
        axes[0, 1].plot(mflops, top1, 'x', label=name)
        axes[0, 1].set(xlabel="the paper's MFLOPs", ylabel='ILSVRC top-1, %', title="the paper's figures")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.margins(x=0.2)
        axis.legend(fontsize=8, ncols=3, loc='upper center', bbox_to_anchor=(0.5, -0.15))
    with atomic_path(path) as partial:
        fig.savefig(partial, dpi=120)
    plt.close(fig)


def read_paper(path: Path) -> dict[str, tuple[float, float]]:
    """Read the paper's MFLOPs and ILSVRC top-1 by network, of those networks that it gives them for."""
    table = pd.read_csv(path).dropna()
    return {row.model: (row.mflops, row.top1) for row in table.itertuples()}


def write_report(study: Study, results: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write a study's table and plot beside its CSV file, and return the summary that is in them."""
    summary = summarize(results, study.metric, study.reference)
    write_text(folder / f'{study.name}.md', f'{to_markdown(summary, study.reference)}\n')
    paper = folder / 'paper.csv'
    points = read_paper(paper) if study.metric.startswith('accuracy') and paper.is_file() else None
    plot(summary, folder / f'{study.name}.png', study.metric, points)
    return summary
