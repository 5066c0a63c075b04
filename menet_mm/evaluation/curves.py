"""The log of a training, and its curves: loss, learning rate, metrics."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from menet_mm.errors import InputError

PLOTTED = ('pascal_voc/mAP', 'coco/bbox_mAP', 'accuracy/')  # how names of metrics begin that are plotted


def read_log(work_dir: Path) -> pd.DataFrame:
    """Read mmengine's scalars of all runs in a work dir, in their order; raises ``InputError`` if there are none."""
    paths = sorted(work_dir.glob('*/vis_data/scalars.json'))
    lines = [line for path in paths for line in path.read_text(encoding='utf-8', errors='replace').splitlines()]
    log = pd.DataFrame([record for line in lines if (record := _parse(line))])
    if not {'loss', 'iter', 'step'} <= set(log):
        raise InputError(f'no training log in {work_dir}: give the --work-dir of a training')
    return log


def _parse(line: str) -> dict | None:
    """The numbers in a line of a log; None of half a line, which a training that was killed may have left."""
    try:
        record = json.loads(line, parse_int=float)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    return {k.encode(errors='replace').decode(): v for k, v in record.items() if isinstance(v, float)}


def plot_loss(axis: Axes, log: pd.DataFrame) -> None:
    """Plot the training loss and its parts."""
    _plot_training(axis, log, ('loss', 'loss_cls', 'loss_bbox'))
    axis.set(ylabel='training loss', ylim=(0, None))


def plot_learning_rate(axis: Axes, log: pd.DataFrame) -> None:
    """Plot the learning rate of the first group of parameters."""
    _plot_training(axis, log, ('lr',))
    axis.set(ylabel='learning rate', ylim=(0, None))


def plot_metrics(axis: Axes, log: pd.DataFrame) -> None:
    """Plot each validation metric."""
    for name in (column for column in log.dropna(axis=1, how='all') if column.startswith(PLOTTED)):
        values = validation_rows(log, name)
        axis.plot(values.step, values[name], marker='o', label=name[:40])
    axis.set(xlabel=find_unit(log)[0], ylabel='validation', ylim=(0, None))


#: What is plotted of a training, in this order.
CURVES: tuple[Callable[[Axes, pd.DataFrame], None], ...] = (plot_loss, plot_learning_rate, plot_metrics)


def plot_curves(log: pd.DataFrame, path: Path) -> None:
    """Draw the curves beside each other, against epochs, or iterations where the log has no epochs."""
    figure = Figure(figsize=(14, 3.8), layout='constrained')
    for axis, plot in zip(figure.subplots(1, len(CURVES)), CURVES, strict=True):
        plot(axis, log)
        finish(axis)
    figure.savefig(path, dpi=120)


def finish(axis: Axes) -> None:
    """Add grid and legend."""
    axis.grid(alpha=0.3)
    if axis.get_legend_handles_labels()[1]:
        axis.legend()


def training_rows(log: pd.DataFrame) -> pd.DataFrame:
    """Rows of training iterations, each once."""
    return log[log.loss.notna()].drop_duplicates('iter', keep='last').sort_values('iter')


def validation_rows(log: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows that have a metric, each ``step`` once."""
    return log[log[name].notna()].drop_duplicates('step', keep='last').sort_values('step')


def find_unit(log: pd.DataFrame) -> tuple[str, float]:
    """What the x axis counts, and iterations in one of it."""
    train = training_rows(log)
    if 'epoch' not in train:
        return 'iteration', 1
    per_epoch = train.groupby('epoch').iter.max().diff().median()
    return 'epoch', per_epoch if per_epoch > 0 else max(train.iter.max(), 1)


def _plot_training(axis: Axes, log: pd.DataFrame, names: tuple[str, ...]) -> None:
    train, (unit, steps) = training_rows(log), find_unit(log)
    for name in train.columns.intersection(names):
        axis.plot(train.iter / steps, train[name], label=name)
    axis.set_xlabel(unit)
