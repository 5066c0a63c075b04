"""Studies: many trainings that differ in the network, a setting or the seed, their results and what follows from them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from scipy import stats
from torch import Tensor, nn

from menet_mm.errors import InputError

matplotlib.use('Agg')
import matplotlib.pyplot as plt


@dataclass(frozen=True)
class Job:
    """One training and its evaluation; ``settings`` are its options as they stand in its row, the same on every machine."""

    model: str
    seed: int
    config: str
    options: dict = field(hash=False)
    settings: str
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
    - ``options``: settings for every model, as of ``--cfg-options``; ``{seed}``, ``{model}`` and ``{work_dir}`` (the folder
      of all studies' trainings) are filled in.
    """

    name: str
    title: str
    metric: str
    floor: float
    reference: str
    classes: tuple[str, ...]
    jobs: tuple[Job, ...]

    @classmethod
    def load(cls, path: str | Path, work_dir: str | Path = 'work_dirs/studies') -> Study:
        """Read a study file.

        Raises:
            InputError: if it does not exist or lacks a name.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f'no study {path}: give a file, such as studies/configs/tiny_imagenet_100.py')
        cfg = Config.fromfile(path)
        missing = [key for key in ('title', 'metric', 'seeds', 'models', 'reference') if key not in cfg]
        missing += [f'models.{name}.config' for name in cfg.get('models', {}) if 'config' not in cfg.models[name]]
        if missing:
            raise InputError(
                f'{path} lacks {", ".join(missing)}: see studies.definition.Study for what a study file holds'
            )
        if cfg.reference not in cfg.models:
            raise InputError(f"{path}: the reference '{cfg.reference}' is none of {', '.join(cfg.models)}")
        jobs = []
        for model, settings in cfg.models.items():
            for seed in settings.get('seeds', cfg.seeds):
                options = {**cfg.get('options', {}), **settings.get('options', {}), 'randomness.seed': seed}
                names = dict(seed=seed, model=model)
                folder = Path(work_dir) / path.stem / f'{model}_seed{seed}'
                jobs.append(
                    Job(
                        model,
                        int(seed),
                        settings.config,
                        _filled(options, **names, work_dir=work_dir),
                        describe_options(_filled(options, **names, work_dir='{work_dir}')),
                        folder,
                    )
                )
        return cls(
            path.stem,
            cfg.title,
            cfg.metric,
            cfg.get('floor', 0.0),
            cfg.reference,
            tuple(cfg.get('classes', ())),
            tuple(jobs),
        )


def _filled(options: dict, **names: str | int | Path) -> dict:
    return {key: value.format(**names) if isinstance(value, str) else value for key, value in options.items()}


def describe_options(options: dict) -> str:
    """Write a job's settings as they stand in its row; their order in the study file does not matter."""
    return ' '.join(f'{key}={value}' for key, value in sorted(options.items()) if key != 'randomness.seed')


def check(study: Study, jobs: Iterable[Job]) -> None:
    """Check what would fail only after hours: configs, weights to start from, the metric and the classes.

    Args:
        study: the study.
        jobs: those of its jobs that are to run.

    Raises:
        InputError: naming the first that is wrong.
    """
    for job in jobs:
        if not Path(job.config).is_file():
            raise InputError(f"no config {job.config}, which model '{job.model}' of the study {study.name} names")
        cfg = Config.fromfile(job.config)
        cfg.merge_from_dict(job.options)
        init_default_scope(cfg.default_scope)
        detector = cfg.default_scope == 'mmdet'
        if detector != (study.metric == 'mAP'):
            raise InputError(
                f"metric '{study.metric}' does not fit {job.config}: detectors have mAP, classifiers others"
            )
        if detector:
            data = DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True})
            known = data.metainfo['classes']
            if not study.classes or not set(study.classes) <= set(known):
                raise InputError(
                    f'the study {study.name} needs classes to average over, of {", ".join(known)}; '
                    f'it has {", ".join(study.classes) or "none"}'
                )
        start = (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
        if start and '://' not in start and not Path(start).is_file():
            raise InputError(
                f"no {start}, from which '{job.model}', seed {job.seed} starts: run the study that makes it, "
                'or look up docs/weights.md'
            )


def count(model: nn.Module, image: Tensor) -> tuple[int, float]:
    """Count parameters, and millions of multiply-adds of convolutions and linear layers, which is what the paper counts.

    Args:
        model: a network in eval mode.
        image: (N, 3, H, W).
    """
    counter = FlopAnalyzer(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    operators = counter.by_operator()
    return sum(p.numel() for p in model.parameters()), (operators['conv'] + operators['linear']) / 1e6


def read_results(path: Path) -> pd.DataFrame:
    """Read the rows of finished jobs; none if the file is not there yet."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=['model', 'seed'])


def add_result(path: Path, row: dict) -> None:
    """Add a finished job, or replace its row; the file is there complete at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # another runner of the same study may have a row, too
        rows = read_results(path).to_dict('records')
        others = [r for r in rows if (r['model'], r['seed']) != (row['model'], row['seed'])]
        table = pd.DataFrame([*others, row])
        partial = path.with_name(f'.{path.name}.partial')
        table.sort_values(['model', 'seed']).to_csv(partial, index=False)
        os.replace(partial, path)
    finally:
        os.close(folder)


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
    present = [model for model in rivals if model in rows.index]
    if reference not in rows.index or len(present) < len(rivals):
        return Order(None, f'not finished: the order of {reference}, {", ".join(rivals)} cannot be read yet')
    weakest = rows.loc[[reference, *rivals], 'mean'].min()
    if weakest < floor:
        name = rows.loc[[reference, *rivals], 'mean'].idxmin()
        return Order(
            None,
            f'no order is read, since the weakest network, {name}, reaches {weakest:.3f}{unit}, below {floor:g}{unit}',
        )
    parts, seen = [], True
    for model in rivals:
        difference, width = -rows.difference[model], rows.difference_interval[model]
        if difference != difference:
            return Order(None, f'not finished: {reference} and {model} have no seed in common yet')
        if width != width:
            return Order(None, f'not finished: {reference} and {model} have one seed in common')
        if abs(difference) <= width:
            verdict = 'the interval contains zero'
        else:
            verdict = 'as in the paper' if difference > 0 else "against the paper's order"
        seen = seen and bool(difference > width)
        parts.append(f'{reference} - {model} = {difference:+.3f} ± {width:.3f} ({verdict})')
    return Order(seen, '; '.join(parts))


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


def write_report(study: Study, results: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Write a study's table and plot beside its CSV file, and return the summary that is in them."""
    summary = summarize(results, study.metric, study.reference)
    (folder / f'{study.name}.md').write_text(f'{to_markdown(summary, study.reference)}\n')
    paper = folder / 'paper.csv'
    points = read_paper(paper) if study.metric.startswith('accuracy') and paper.is_file() else None
    plot(summary, folder / f'{study.name}.png', study.metric, points)
    return summary


def read_paper(path: Path) -> dict[str, tuple[float, float]]:
    """Read the paper's MFLOPs and ILSVRC top-1 by network, of those networks that it gives them for."""
    table = pd.read_csv(path).dropna()
    return {row.model: (row.mflops, row.top1) for row in table.itertuples()}


def check_rows(study: Study, results: pd.DataFrame) -> None:
    """Check that finished rows were made with the config and the settings that the study file has now.

    Raises:
        InputError: naming the first that was not.
    """
    wanted = {job.key: (job.config, job.settings) for job in study.jobs}
    for row in results.to_dict('records'):
        key = (row['model'], row['seed'])
        have = (row['config'], row['options'] if isinstance(row['options'], str) else '')
        if key in wanted and have != wanted[key]:
            raise InputError(_changed(*key, have, wanted[key], 'remove its row and its work dir'))


def claim(job: Job) -> None:
    """Note in a job's work dir what it is trained with, so that a training never goes on with something else.

    Raises:
        InputError: if it was begun with another config or other settings.
    """
    note = job.work_dir / 'job.json'
    wanted = [job.config, job.settings]
    if not note.is_file():
        partial = note.with_suffix('.partial')
        partial.write_text(json.dumps(wanted))
        os.replace(partial, note)
    have = json.loads(note.read_text())
    if have != wanted:
        raise InputError(_changed(*job.key, have, wanted, f'remove {job.work_dir}'))


def _changed(model: str, seed: int, have: tuple[str, str], wanted: tuple[str, str], advice: str) -> str:
    have, wanted = (' '.join(filter(None, parts)) for parts in (have, wanted))
    return (
        f"{model}, seed {seed} was run with '{have}' but the study now says '{wanted}': {advice}, "
        'or give the study another name'
    )


def pending(study: Study, results: pd.DataFrame) -> Iterator[Job]:
    """Jobs that have no row yet, in the order of the seeds, so that every seed is complete as early as can be."""
    yield from sorted((job for job in study.jobs if job.key not in done(results)), key=lambda job: job.seed)


def done(results: pd.DataFrame) -> set[tuple[str, int]]:
    """Model and seed of the jobs that have a row."""
    return set(zip(results.model, results.seed, strict=True))
