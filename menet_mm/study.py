"""Studies: many trainings that differ in the network, a setting or the seed, their results and what follows from them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from mmengine.config import Config
from scipy import stats

from menet_mm.errors import InputError

matplotlib.use('Agg')
import matplotlib.pyplot as plt

#: How :func:`describe_order` begins if all differences are surely as in the paper, or not.
SEEN, NOT_SEEN = "The paper's order was seen", "The paper's order was not seen"


@dataclass(frozen=True)
class Job:
    """One training and its evaluation."""

    model: str
    seed: int
    config: str
    options: dict = field(hash=False)
    work_dir: Path

    @property
    def key(self) -> tuple[str, int]:
        return self.model, self.seed


@dataclass(frozen=True)
class Study:
    """What a study file says.

    The file is a config with these names:

    - ``title``: a line of text;
    - ``metric``: what decides: a metric's name in the log, such as ``accuracy/top1``, or ``mAP`` over the classes
      ``classes`` of a detector's data;
    - ``floor``: value below which no order is read from the study;
    - ``seeds``: seeds of every model;
    - ``reference``: the model with which the others are compared, seed by seed;
    - ``models``: by name ``dict(config=..., options=..., seeds=...)``, the last two if they differ;
    - ``options``: settings for every model, as of ``--cfg-options``; ``{seed}`` and ``{model}`` are filled in.
    """

    name: str
    title: str
    metric: str
    floor: float
    reference: str
    classes: tuple[str, ...]
    jobs: tuple[Job, ...]

    @classmethod
    def load(cls, path: str | Path, work_dir: str | Path = 'work_dirs') -> Study:
        """Read a study file.

        Raises:
            InputError: if it does not exist or lacks a name.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f'no study {path}: give a file, such as studies/tiny_imagenet_100.py')
        cfg = Config.fromfile(path)
        missing = [key for key in ('title', 'metric', 'seeds', 'models', 'reference') if key not in cfg]
        if missing:
            raise InputError(f'{path} lacks {", ".join(missing)}: see menet_mm.study.Study for what a study file holds')
        if cfg.reference not in cfg.models:
            raise InputError(f"{path}: the reference '{cfg.reference}' is none of {', '.join(cfg.models)}")
        jobs = []
        for model, settings in cfg.models.items():
            for seed in settings.get('seeds', cfg.seeds):
                options = {**cfg.get('options', {}), **settings.get('options', {}), 'randomness.seed': seed}
                filled = {
                    key: value.format(seed=seed, model=model) if isinstance(value, str) else value
                    for key, value in options.items()
                }
                folder = Path(work_dir) / path.stem / f'{model}_seed{seed}'
                jobs.append(Job(model, int(seed), settings.config, filled, folder))
        return cls(
            path.stem,
            cfg.title,
            cfg.metric,
            cfg.get('floor', 0.0),
            cfg.reference,
            tuple(cfg.get('classes', ())),
            tuple(jobs),
        )


def read_results(path: Path) -> pd.DataFrame:
    """Read the rows of finished jobs; none if the file is not there yet."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=['model', 'seed'])


def add_result(path: Path, row: dict) -> None:
    """Add a finished job, or replace its row; the file is there complete at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    others = [
        r for r in read_results(path).to_dict('records') if (r['model'], r['seed']) != (row['model'], row['seed'])
    ]
    table = pd.DataFrame([*others, row])
    partial = path.with_name(f'.{path.name}.partial')
    table.sort_values(['model', 'seed']).to_csv(partial, index=False)
    os.replace(partial, path)


def read_progress(work_dir: Path) -> float:
    """Read how many epochs a training has behind it, from mmengine's log."""
    done = 0.0
    for path in work_dir.glob('*/vis_data/scalars.json'):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # being written
                continue
            # A training record holds the epoch that is under way, a validation's the step that is done.
            done = max(done, record['epoch'] - 1 if 'epoch' in record else record.get('step', 0))
    return done


def interval(values: np.ndarray) -> float:
    """Half the width of Student's 95 % interval of the mean; NaN of fewer than two values."""
    if len(values) < 2:
        return float('nan')
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def summarize(results: pd.DataFrame, metric: str, reference: str) -> pd.DataFrame:
    """Average over seeds, and compare with the reference on the seeds that both have.

    Args:
        results: rows with model, seed, the metric, parameters, mmacs and minutes.
        metric: name of the column that decides.
        reference: model with which the others are compared.

    Returns:
        Best model first: model, seeds, mean, interval (half of the 95 % interval), difference to the reference with its
        interval, of the paired differences, and parameters, mmacs, minutes (mean).
    """
    by_seed = results.pivot(index='seed', columns='model', values=metric)
    rows = []
    for model, group in results.groupby('model'):
        values = group[metric].to_numpy()
        paired = np.array([]) if reference not in by_seed else (by_seed[model] - by_seed[reference]).dropna().to_numpy()
        rows.append(
            dict(
                model=model,
                seeds=len(values),
                mean=values.mean(),
                interval=interval(values),
                difference=paired.mean() if len(paired) and model != reference else float('nan'),
                difference_interval=interval(paired) if model != reference else float('nan'),
                parameters=group.parameters.iloc[0],
                mmacs=group.mmacs.iloc[0],
                minutes=group.minutes.mean(),
            )
        )
    return pd.DataFrame(rows).sort_values('mean', ascending=False, ignore_index=True)


def _number(value: float, form: str = '.3f', sign: str = '') -> str:
    return '-' if value != value else sign + format(value, form)  # NaN is not itself


def to_markdown(summary: pd.DataFrame, reference: str) -> str:
    """Write a summary as a Markdown table."""
    lines = [
        f'| model | seeds | mean | 95 % interval | difference to {reference} | 95 % interval | params | MMACs | minutes |',
        '|---|---|---|---|---|---|---|---|---|',
    ]
    for row in summary.itertuples():
        lines.append(
            f'| {row.model} | {row.seeds} | {_number(row.mean)} | {_number(row.interval, sign="±")} | '
            f'{_number(row.difference, "+.3f")} | {_number(row.difference_interval, sign="±")} | {row.parameters:,} | '
            f'{row.mmacs:.1f} | {row.minutes:.0f} |'
        )
    return '\n'.join(lines)


def describe_order(summary: pd.DataFrame, rivals: list[str], reference: str, floor: float) -> str:
    """Say in a sentence what the paired differences to the reference allow to say.

    Args:
        summary: of :func:`summarize`.
        rivals: models over which the paper puts the reference.
        reference: the model that the paper puts first.
        floor: the weakest network's mean below which no order is read.
    """
    rows = summary.set_index('model')
    present = [model for model in rivals if model in rows.index]
    if reference not in rows.index or len(present) < len(rivals):
        return f'Not finished: the order of {reference}, {", ".join(rivals)} cannot be read yet.'
    weakest = rows.loc[[reference, *rivals], 'mean'].min()
    if weakest < floor:
        name = rows.loc[[reference, *rivals], 'mean'].idxmin()
        return f'No order is read: the weakest network, {name}, reaches {weakest:.3f}, and {floor:g} was asked for.'
    parts, seen = [], True
    for model in rivals:
        difference, width = -rows.difference[model], rows.difference_interval[model]
        if difference != difference:
            return f'Not finished: {reference} and {model} have no seed in common yet.'
        if width != width:
            verdict = 'one seed, so nothing can be said'
        elif abs(difference) <= width:
            verdict = 'the interval contains zero'
        else:
            verdict = 'as in the paper' if difference > 0 else "against the paper's order"
        seen = seen and difference > width
        parts.append(f'{reference} - {model} = {difference:+.3f} ± {_number(width)} ({verdict})')
    return f'{SEEN if seen else NOT_SEEN}: {"; ".join(parts)}.'


def plot(summary: pd.DataFrame, path: Path, ylabel: str, paper: dict[str, tuple[float, float]] | None = None) -> None:
    """Plot the metric against multiply-adds, with intervals; the paper's points stand apart, since its data are others.

    Args:
        summary: of :func:`summarize`.
        path: picture to write.
        ylabel: the metric's name.
        paper: the paper's figures by network, as (MFLOPs, ILSVRC top-1); a second plot on the right.
    """
    fig, axes = plt.subplots(
        1, 2 if paper else 1, figsize=(11 if paper else 7, 4.2), layout='constrained', squeeze=False
    )
    for row in summary.itertuples():
        error = None if row.interval != row.interval else row.interval
        axes[0, 0].errorbar(row.mmacs, row.mean, yerr=error, fmt='o', capsize=3, label=row.model)
    axes[0, 0].set(xlabel='MMACs (convolutions and linear layer)', ylabel=ylabel, title='measured')
    for name, (mflops, top1) in (paper or {}).items():
        axes[0, 1].plot(mflops, top1, 'x', label=name)
        axes[0, 1].set(xlabel="the paper's MFLOPs", ylabel='ILSVRC top-1, %', title="the paper's figures")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
        axis.margins(x=0.2)
        axis.legend(fontsize=8, ncols=3, loc='upper center', bbox_to_anchor=(0.5, -0.15))
    fig.savefig(path, dpi=120)
    plt.close(fig)


def read_paper(path: Path) -> dict[str, tuple[float, float]]:
    """Read the paper's MFLOPs and ILSVRC top-1 by network, of those networks that it gives them for."""
    table = pd.read_csv(path).dropna()
    return {row.model: (row.mflops, row.top1) for row in table.itertuples()}


def check_rows(study: Study, results: pd.DataFrame) -> None:
    """Check that finished rows were made with the settings that the study file has now.

    Raises:
        InputError: naming the first that was not.
    """
    wanted = {job.key: describe_options(job.options) for job in study.jobs}
    for row in results.to_dict('records'):
        key = (row['model'], row['seed'])
        have = row['options'] if isinstance(row['options'], str) else ''
        if key in wanted and have != wanted[key]:
            raise InputError(
                f"{row['model']}, seed {row['seed']} was run with '{have}' but the study now says '{wanted[key]}': "
                'remove its row and its work dir, or give the study another name'
            )


def describe_options(options: dict) -> str:
    """Write a job's settings as they stand in its row; their order in the study file does not matter."""
    return ' '.join(f'{key}={value}' for key, value in sorted(options.items()) if key != 'randomness.seed')


def pending(study: Study, results: pd.DataFrame) -> Iterator[Job]:
    """Jobs that have no row yet, in the order of the seeds, so that every seed is complete as early as can be."""
    yield from sorted((job for job in study.jobs if job.key not in done(results)), key=lambda job: job.seed)


def done(results: pd.DataFrame) -> set[tuple[str, int]]:
    """Model and seed of the jobs that have a row."""
    return set(zip(results.model, results.seed, strict=True))
