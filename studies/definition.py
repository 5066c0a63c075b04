"""A study: what its file says, its jobs, and what is checked before any of them runs.

Reading a study does not import torch, so that mistakes in its file are answered at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_arguments, load_config
from menet_mm.utils.config import find_config

if TYPE_CHECKING:
    from torch import Tensor, nn

REQUIRED = ('title', 'metric', 'seeds', 'models', 'reference')
OPTIONAL = ('floor', 'classes', 'options')
MODEL_KEYS = ('config', 'options', 'seeds')
PLACEHOLDERS = ('seed', 'model', 'work_dir')


@dataclass(frozen=True)
class Job:
    """One training and its evaluation.

    ``settings`` are its options as its row has them: the same on every machine and in any order of the study file.
    """

    model: str
    seed: int
    config: str
    options: dict = field(hash=False)
    settings: str
    work_dir: Path

    @property
    def key(self) -> tuple[str, int]:
        return self.model, self.seed

    @property
    def arguments(self) -> list[str]:
        """What ``tools/train.py`` and ``tools/test.py`` are called with behind the config."""
        return ['--work-dir', str(self.work_dir), '--cfg-options', *(f'{k}={v}' for k, v in self.options.items())]

    def read_config(self) -> Config:
        """Read the config with the job's options, as the tools do.

        Raises:
            InputError: if there is no such config, or an option does not fit it.
        """
        parser = argparse.ArgumentParser()
        add_config_arguments(parser)
        try:
            return load_config(parser.parse_args([str(find_config(self.config)), *self.arguments]))
        except (InputError, KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(f"config and options of model '{self.model}' do not fit: {error}") from None


@dataclass(frozen=True)
class Study:
    """What a study file says.

    The file is a config with these names:

    - ``title``: a line of text;
    - ``metric``: the metric that decides. For a classifier its name in the log, such as ``accuracy/top1``; for a detector
      ``mAP``, the mean over ``classes``;
    - ``floor``: while a model's mean is below it, no order is read from the study;
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

    @property
    def models(self) -> list[str]:
        """Names of the models, in the file's order."""
        return list(dict.fromkeys(job.model for job in self.jobs))

    @classmethod
    def load(cls, path: str | Path, work_dir: str | Path = 'work_dirs/studies') -> Study:
        """Read a study file.

        Raises:
            InputError: if it does not exist, lacks a name, or has a misspelt one.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f'no study {path}: give a file, such as studies/configs/tiny_imagenet_100.py')
        try:
            cfg = Config.fromfile(path)
        except (OSError, SyntaxError, NameError) as error:
            raise InputError(f'{path} cannot be read as a config: {error}') from None
        _check_names(path, cfg)
        jobs = []
        for model, settings in cfg.models.items():
            for seed in settings.get('seeds', cfg.seeds):
                options = {**cfg.get('options', {}), **settings.get('options', {}), 'randomness.seed': seed}
                try:
                    filled = _fill(options, seed=seed, model=model, work_dir=work_dir)
                    portable = _fill(options, seed=seed, model=model, work_dir='{work_dir}')
                except (KeyError, IndexError, ValueError) as error:
                    names = ', '.join(f'{{{name}}}' for name in PLACEHOLDERS)
                    raise InputError(f'{path}: options can hold {names}, but no other braces: {error}') from None
                folder = Path(work_dir) / path.stem / f'{model}_seed{seed}'
                jobs.append(Job(model, seed, settings.config, filled, describe_options(portable), folder))
        floor, classes = cfg.get('floor', 0.0), tuple(cfg.get('classes', ()))
        return cls(path.stem, cfg.title, cfg.metric, floor, cfg.reference, classes, tuple(jobs))


def _check_names(path: Path, cfg: Config) -> None:
    """Check that a study file has all names and no misspelt ones; it may have others, as helpers."""
    others = [name for name in cfg if name not in (*REQUIRED, *OPTIONAL)]
    for name in (*REQUIRED, *OPTIONAL):
        near = get_close_matches(name, others, n=1, cutoff=0.75)
        if name not in cfg and near:
            raise InputError(f"{path} has '{near[0]}' but no '{name}': correct the name")
    missing = [name for name in REQUIRED if name not in cfg]
    missing += [f'models.{name}.config' for name, model in cfg.get('models', {}).items() if 'config' not in model]
    if missing:
        raise InputError(f'{path} lacks {", ".join(missing)}: see studies/definition.py for what a study file holds')
    for name, model in cfg.models.items():
        for key in model:
            check_choice(key, MODEL_KEYS, f'{path}: models.{name} has')
    for seeds in (cfg.seeds, *(model.seeds for model in cfg.models.values() if 'seeds' in model)):
        if not isinstance(seeds, list | tuple) or not all(isinstance(seed, int) for seed in seeds):
            raise InputError(f'{path}: seeds must be a list of whole numbers, such as [0, 1, 2], but they are {seeds}')
    check_choice(cfg.reference, list(cfg.models), f'{path}: the reference is')


def check_choice(name: str, known: Collection[str], what: str) -> None:
    """Check that a name is known.

    Raises:
        InputError: with the nearest known name, and all of them.
    """
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"is '{near[0]}' meant? " if near else ''
        raise InputError(f"{what} '{name}': {hint}choose of {', '.join(known)}")


def _fill(options: dict, **names: str | int | Path) -> dict:
    return {key: value.format(**names) if isinstance(value, str) else value for key, value in options.items()}


def describe_options(options: dict) -> str:
    """Write a job's settings as its row has them, sorted by name."""
    return ' '.join(f'{key}={value}' for key, value in sorted(options.items()) if key != 'randomness.seed')


def check(study: Study, jobs: Iterable[Job], made: Collection[Path] = ()) -> None:
    """Check what would otherwise fail after hours: configs, options, the metric, classes, weights to start from.

    Args:
        study: the study.
        jobs: those of its jobs that are to run.
        made: work dirs of jobs that run before; weights in them need not be there yet.

    Raises:
        InputError: naming the first that is wrong.
    """
    for job in jobs:
        cfg = job.read_config()
        names = metric_names(cfg)
        if names is not None:
            check_choice(study.metric, names, f'{job.config} does not give the metric of the study {study.name},')
        if cfg.default_scope == 'mmdet':
            _check_classes(study, cfg)
        start = (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
        if start and Path(start).parent not in made:
            check_weights(job, cfg)


def metric_names(cfg: Config) -> list[str] | None:
    """Names of the metrics that a job's result will have; None if only the test itself can tell.

    A classifier's evaluator is asked with one made-up answer, so that the names are the library's own.

    Raises:
        InputError: if the evaluator cannot work, such as top-5 of two classes.
    """
    if cfg.default_scope == 'mmdet':
        return ['mAP']
    import torch
    from mmengine.evaluator import Evaluator
    from mmengine.registry import init_default_scope
    from mmpretrain.structures import DataSample

    init_default_scope(cfg.default_scope)
    scores = torch.zeros(cfg.model.head.num_classes)
    answer = DataSample().set_gt_label(0).set_pred_score(scores).set_pred_label(0)
    try:
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.process([answer])
        return list(evaluator.evaluate(1))
    except ValueError as error:
        raise InputError(f'the test_evaluator of {cfg.filename} cannot work: {error}') from None
    except Exception:  # a metric of another task, which needs more than a class
        return None


def _check_classes(study: Study, cfg: Config) -> None:
    """Check the classes over which a detector's AP is averaged."""
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(cfg.default_scope)
    known = DATASETS.build({**cfg.test_dataloader.dataset, 'lazy_init': True}).metainfo['classes']
    if not study.classes:
        raise InputError(f'the study {study.name} needs classes to average over, of {", ".join(known)}')
    for name in study.classes:
        check_choice(name, known, f'the study {study.name} has the class')


def check_weights(job: Job, cfg: Config) -> None:
    """Check that the weights from which a job starts are there.

    Raises:
        InputError: if they are not.
    """
    start = (cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
    if start and '://' not in start and not Path(start).is_file():
        raise InputError(
            f"no {start}, from which '{job.model}', seed {job.seed} starts: run the study that makes it, "
            'or look it up in docs/weights.md'
        )


def count(model: nn.Module, image: Tensor) -> tuple[int, float]:
    """Count parameters, and millions of multiply-adds of convolutions and linear layers, which is what the paper counts.

    Args:
        model: a network in eval mode.
        image: (N, 3, H, W).
    """
    from mmengine.analysis import FlopAnalyzer

    counter = FlopAnalyzer(model, image).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    operators = counter.by_operator()
    return sum(p.numel() for p in model.parameters()), (operators['conv'] + operators['linear']) / 1e6
