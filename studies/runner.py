"""What runs a study's jobs, several at once: each is tools/train.py and then tools/test.py, in processes of their own."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import TextIO

import pandas as pd
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import menet_mm
from benchmarks.race import machine
from menet_mm.errors import InputError
from studies import definition as studies

#: Loaded here, since a process that was just forked must not load anything.
LIBC = ctypes.CDLL(None)
LIBRARIES = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain')


class Running:
    """A job that is under way: training first, then evaluation."""

    def __init__(self, job: studies.Job, threads: int, tools: Path) -> None:
        self.job, self.tools = job, tools
        self.cfg = Config.fromfile(job.config)
        self.cfg.merge_from_dict(job.options)
        self.epochs = self.cfg.train_cfg.max_epochs
        job.work_dir.mkdir(parents=True, exist_ok=True)
        self.env = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'MKL_NUM_THREADS': str(threads)}
        self.lock = (job.work_dir / 'lock').open('w')
        _take(self.lock, job.work_dir)
        studies.claim(job)
        self.commands = self._commands()
        self._start(next(self.commands))

    def _commands(self) -> Iterator[list[str]]:
        job, checkpoint = self.job, self.job.work_dir / f'epoch_{self.epochs}.pth'
        last = job.work_dir / 'last_checkpoint'  # written when a checkpoint is whole
        common = ['--work-dir', str(job.work_dir), '--cfg-options', *_as_options(job.options)]
        if not last.is_file() or Path(last.read_text()).name != checkpoint.name:
            yield ['train.py', job.config, '--resume', *common]
        if self.detector:
            yield ['test.py', job.config, str(checkpoint), '--out', str(job.work_dir / 'predictions.pkl'), *common]
            yield ['report.py', job.config, str(job.work_dir / 'predictions.pkl'), *common]
        else:
            out = ['--out', str(job.work_dir / 'metrics.json'), '--out-item', 'metrics']
            yield ['test.py', job.config, str(checkpoint), *out, *common]

    @property
    def detector(self) -> bool:
        return self.cfg.default_scope == 'mmdet'

    def _start(self, command: list[str]) -> None:
        log = (self.job.work_dir / 'output.log').open('a')
        # The lock lives in the child: a killed runner does not free a work dir that is still written to.
        self.process = subprocess.Popen(
            [sys.executable, str(self.tools / command[0]), *command[1:]],
            env=self.env,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[self.lock.fileno()],
            preexec_fn=_end_with_runner if sys.platform == 'linux' else None,
        )
        log.close()

    def finished(self) -> bool:
        """Go on to the next command if one has ended.

        Raises:
            InputError: if it failed.
        """
        code = self.process.poll()
        if code is None:
            return False
        if code != 0:
            raise InputError(f'{self.job.model}, seed {self.job.seed} failed: see {self.job.work_dir}/output.log')
        command = next(self.commands, None)
        if command is None:
            self.lock.close()
            return True
        self._start(command)
        return False

    def stop(self) -> None:
        """End the process and wait for it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()


def _end_with_runner() -> None:
    """Have the kernel end this process when the runner dies, even if it is killed without a chance to do so itself."""
    LIBC.prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


def _take(lock: TextIO, work_dir: Path) -> None:
    """Lock a work dir; the workers of a training that was stopped a moment ago may hold it for some seconds."""
    for _ in range(20):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(1)
    raise InputError(
        f'{work_dir} is in use by another runner, or by a training that a killed one left: wait until that ends, or end it'
    )


def _as_options(options: dict) -> list[str]:
    return [f'{key}={value}' for key, value in options.items()]


def measure(cfg: Config) -> dict:
    """Count parameters and multiply-adds for a picture as the test pipeline makes it."""
    init_default_scope(cfg.default_scope)
    inputs = DATASETS.build(cfg.test_dataloader.dataset)[0]['inputs']
    parameters, mmacs = studies.count(MODELS.build(cfg.model).eval(), inputs[None].float())
    return dict(parameters=parameters, mmacs=round(mmacs, 2), input='x'.join(map(str, inputs.shape[1:])))


def collect(study: studies.Study, running: Running, threads: int) -> dict:
    """Make the row of a finished job."""
    job = running.job
    if running.detector:
        table = pd.read_csv(job.work_dir / 'report/ap_by_class.csv').set_index('class').ap
        metrics = dict(mAP=table[list(study.classes)].mean(), mAP_all=table['mean'])
    else:
        metrics = json.loads((job.work_dir / 'metrics.json').read_text())
    records = [
        json.loads(line)
        for path in job.work_dir.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
        if '"loss"' in line and line.endswith('}')  # a killed training may leave half a line
    ]
    iterations = max(record['iter'] for record in records)
    # The median, since a training may have been paused.
    seconds = iterations * median(record['time'] for record in records)
    return dict(
        model=job.model,
        seed=job.seed,
        **{key: round(value, 4) for key, value in metrics.items() if isinstance(value, float)},
        **measure(running.cfg),
        epochs=running.epochs,
        minutes=round(seconds / 60, 1),
        config=job.config,
        options=job.settings,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else machine()['cpu'],
        threads=threads,
        python=platform.python_version(),
        **{name: import_module(name).__version__ for name in LIBRARIES},
        menet_mm=menet_mm.__version__,
        date=date.today().isoformat(),
    )


def run_jobs(
    study: studies.Study,
    csv: Path,
    tools: Path,
    models: Sequence[str] | None = None,
    at_once: int = 1,
    threads: int | None = None,
    limit: int | None = None,
) -> None:
    """Run what is missing of a study, with one bar over all and one for each job that runs.

    Args:
        study: the study.
        csv: its rows, to which those of finished jobs are added.
        tools: folder of ``train.py``, ``test.py`` and ``report.py``.
        models: run only these of its models.
        at_once: how many jobs run at once.
        threads: of each job; the cores shared out by default.
        limit: stop after this many jobs.

    Raises:
        InputError: when all is done, if a job failed; the others are not disturbed.
    """
    results = studies.read_results(csv)
    studies.check_rows(study, results)
    chosen = models or {job.model for job in study.jobs}
    waiting = [job for job in studies.pending(study, results) if job.model in chosen][:limit]
    studies.check(study, waiting)
    threads = threads or max(1, (os.cpu_count() or 1) // at_once)
    columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    running: dict[Running, int] = {}
    failures: list[str] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    columns += (TimeRemainingColumn(elapsed_when_finished=True),)
    # Epochs are minutes apart; the estimate is from all that has passed.
    with Progress(*columns, refresh_per_second=1, speed_estimate_period=1e9) as progress:
        total = progress.add_task(f'{study.name}: {len(waiting)} jobs', total=len(waiting))
        finished = 0
        try:
            while waiting or running:
                while waiting and len(running) < at_once:
                    job = waiting.pop(0)
                    try:
                        started = Running(job, threads, tools)
                    except InputError as error:
                        failures.append(str(error))
                        continue
                    if job.key in studies.done(studies.read_results(csv)):
                        started.stop()  # another runner has finished it meanwhile
                        finished += 1
                        continue
                    running[started] = progress.add_task(f'{job.model}, seed {job.seed}', total=started.epochs)
                for one, task in list(running.items()):
                    progress.update(task, completed=studies.read_progress(one.job.work_dir))
                    try:
                        if not one.finished():
                            continue
                        row = collect(study, one, threads)
                        studies.add_result(csv, row)
                        progress.console.print(f'{one.job.model}, seed {one.job.seed}: {row[study.metric]:.4f}')
                    except InputError as error:
                        failures.append(str(error))
                        progress.console.print(f'error: {error}')
                    progress.remove_task(task)
                    del running[one]
                    finished += 1
                parts = sum(progress.tasks[progress.task_ids.index(t)].percentage / 100 for t in running.values())
                progress.update(total, completed=finished + parts)
                time.sleep(1)
        finally:
            for one in running:
                one.stop()
    if failures:
        raise InputError('; '.join(failures))
