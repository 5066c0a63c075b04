"""A picture of a result."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

matplotlib.use('Agg')
import matplotlib.pyplot as plt


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Plot milliseconds of each network, least multiply-adds first, by runtime and form.

    Args:
        rows: of one :func:`benchmarks.race.race`.
        path: picture file.
    """
    rows = rows.assign(way=rows.source + ', ' + rows.runtime + ', ' + rows.form + ', ' + rows.precision)
    mmacs = rows.groupby('network').mmacs.first().sort_values()
    heights = {network: i for i, network in enumerate(mmacs.index)}
    figure, axis = plt.subplots(figsize=(10, max(3.2, 1 + 0.45 * len(mmacs))), layout='constrained')
    for number, (_, of_runtime) in enumerate(rows.groupby('runtime', sort=False)):
        for marker, (way, group) in zip('osD^vPX*', of_runtime.groupby('way', sort=False), strict=False):
            height = group.network.map(heights)
            axis.plot(group.milliseconds, height, marker, color=f'C{number}', fillstyle='none', label=way)
    axis.set_yticks(range(len(mmacs)), [f'{network}\n{count:.1f} MMACs' for network, count in mmacs.items()])
    axis.set(xlabel=f'ms, batch {rows.batch[0]}, threads {rows.threads[0]}', xscale='log')
    for formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        formatter('{x:g}')
    axis.grid(alpha=0.3, which='both')
    axis.margins(y=0.15)
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=110)
    plt.close(figure)
