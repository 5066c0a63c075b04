"""What checks and safe saving cost: ``python -m benchmarks.reliability [CONFIG] [--out FILE.csv]``.

A short training of a config on its own data, with our hooks. In each iteration the time inside them is measured, and the seeding
of each picture. Then the training's state is saved in turns: as mmengine does it, and as we do.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import pandas as pd
from mmengine.hooks import Hook
from mmengine.runner import Runner

from benchmarks.machine import describe_machine
from menet_mm.datasets.draws import seed_generators
from menet_mm.engine.hooks import CheckpointHook
from menet_mm.engine.launch import build_runner
from menet_mm.utils.cli import run
from menet_mm.utils.config import read_config


class Stopwatch(Hook):
    """Measures each iteration, from batch to batch, and of it the time inside of our hooks."""

    priority = 'LOWEST'

    def __init__(self) -> None:
        self.inside, self.iterations, self.last = 0.0, [], None

    def watch(self, hooks: list[Hook]) -> None:
        for hook in hooks:
            for name in ('before_train_iter', 'after_train_iter'):
                setattr(hook, name, self._timed(getattr(hook, name)))

    def _timed(self, method: object) -> object:
        def timed(*args: object, **kwargs: object) -> None:
            begun = perf_counter()
            method(*args, **kwargs)
            self.inside += perf_counter() - begun

        return timed

    def after_train_iter(self, runner: Runner, **_: object) -> None:
        now = perf_counter()
        if self.last is not None:
            self.iterations.append((now - self.last, self.inside))
        self.last, self.inside = perf_counter(), 0.0

    def after_train_epoch(self, runner: Runner) -> None:
        self.last = None


def measure(name: str, epochs: int, saves: int, folder: str) -> list[dict]:
    """Return a row for iterations and one for saves: milliseconds without and with ours, and their ratio."""
    cfg = read_config(name)
    cfg.merge_from_dict(
        {'train_cfg.max_epochs': epochs, 'log_level': 'WARNING', 'default_hooks.checkpoint.interval': epochs}
    )
    cfg.work_dir, cfg.launcher = folder, 'none'
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    runner = build_runner(cfg)
    ours = [hook for hook in runner.hooks if type(hook).__module__.startswith('menet_mm')]
    stopwatch = Stopwatch()
    checkpoints = next(hook for hook in ours if isinstance(hook, CheckpointHook))
    stopwatch.watch([hook for hook in ours if hook is not checkpoints])
    runner.register_hook(stopwatch)
    runner.train()
    begun = perf_counter()
    for index in range(1000):
        seed_generators(0, 0, index, 1)
    seeding = (perf_counter() - begun) / 1000 * runner.train_dataloader.batch_size
    with_ours = median(whole for whole, _ in stopwatch.iterations) + (runner.train_dataloader.num_workers > 0) * seeding
    cost = median(inside for _, inside in stopwatch.iterations) + seeding

    all_hooks, times = runner.hooks, {False: [], True: []}
    for _ in range(saves):
        for safe, found in times.items():
            runner._hooks = all_hooks if safe else [hook for hook in all_hooks if hook not in ours]
            begun = perf_counter()
            if safe:
                checkpoints._save(runner, 'safe.pth', {})
            else:
                runner.save_checkpoint(folder, 'plain.pth')
            found.append(perf_counter() - begun)
    plain, safe = (median(times[key]) for key in (False, True))
    ratio = median(after / before for before, after in zip(times[False], times[True], strict=True))
    return [
        dict(
            what='iteration',
            plain_ms=1e3 * (with_ours - cost),
            ours_ms=1e3 * with_ours,
            ratio=(with_ours - cost) / with_ours,
        ),
        dict(what='save', plain_ms=1e3 * plain, ours_ms=1e3 * safe, ratio=ratio),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default='ssd_menet228_shapes', help='whose data is there')
    parser.add_argument('--epochs', type=int, default=1)
    parser.add_argument('--saves', type=int, default=15)
    parser.add_argument('--out', help='a CSV file')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir='work_dirs') as folder:
        rows = measure(args.config, args.epochs, args.saves, str(Path(folder, 'work')))
    table = pd.DataFrame([dict(config=args.config, **row, **describe_machine(['torch'])) for row in rows])
    print(table[['what', 'plain_ms', 'ours_ms', 'ratio']].to_string(index=False, float_format='{:.3f}'.format))
    if args.out:
        table.to_csv(args.out, index=False, float_format='%.3f')


if __name__ == '__main__':
    run(main)
