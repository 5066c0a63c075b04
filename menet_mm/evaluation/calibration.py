"""What a score is worth: how often answers of a score are right, as numbers and as plots."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from menet_mm.evaluation.rendering import to_svg


def calibration(score: pd.Series, right: pd.Series, bins: int = 10) -> tuple[pd.DataFrame, float]:
    """Compare scores with the share of right answers, in ``bins`` of equal width; both are (N,), the latter true or false.

    Returns ``score`` (its mean), ``right`` (a share) and ``count`` of each bin that has answers, and the expected calibration
    error, the mean distance of the two over all answers; NaN if there are none.
    """
    index = np.clip((score * bins).astype(int), 0, bins - 1)
    groups = pd.DataFrame(dict(score=score, right=right)).groupby(index.rename('bin'))
    table = groups.agg(score=('score', 'mean'), right=('right', 'mean'), count=('right', 'size'))
    if not len(score):
        return table, float('nan')
    return table, float(((table.score - table.right).abs() * table['count']).sum() / len(score))


def plot_scores(
    score: pd.Series, right: pd.Series, what: str, finish: Callable[[Axes], None] = lambda axis: None
) -> dict[str, Any]:
    """Plots for a page, ``scores`` (how many answers of each are right) and ``calibration``, and its ``error``.

    ``what`` names the answers, such as detections; ``finish`` draws more into the first plot.
    """
    table, error = calibration(score, right)

    def draw_calibration(axis: Axes) -> None:
        axis.plot([0, 1], [0, 1], color='grey', linestyle=':', label='scores that say the truth')
        axis.plot(table.score, table.right, marker='o', label=f'{what}, in tenths of the score')
        axis.set(xlabel='score', ylabel=f'share of right {what}', xlim=(0, 1), ylim=(0, 1))

    def draw_scores(axis: Axes) -> None:
        axis.hist([score[right], score[~right]], np.linspace(0, 1, 41), label=['right', 'wrong'])
        axis.set(xlabel='score', ylabel=what, xlim=(0, 1), yscale='log' if len(score) else 'linear')
        axis.yaxis.set_major_formatter('{x:g}')  # the usual ones of such a scale write formulas
        axis.yaxis.set_minor_formatter(NullFormatter())
        finish(axis)

    return dict(calibration=to_svg(draw_calibration), scores=to_svg(draw_scores), error=error)
