"""Run a study's jobs, several at once: each is tools/train.py and then tools/test.py, in processes of their own.

A runner that was stopped or killed is started again and goes on. Two runners at once are not supported: a training would be
written to by both. ``at_once`` is the way to use a large machine.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import pandas as pd
from mmengine.config import Config
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.machine import describe_machine
from menet_mm.errors import InputError
from menet_mm.utils.config import find_config
from studies import rows
from studies.definition import Job, Study, check_weights, count

#: Loaded here, because a process that was just forked must not load anything.
LIBC = ctypes.CDLL(None)
#: Distributions whose versions a row has; those of OpenMMLab go by two names.
LIBRARIES = ('torch', *(f'{prefix}{name}' for prefix in ('', 'onedl-') for name in ('mmengine', 'mmcv')))
LIBRARIES += ('mmdet', 'onedl-mmdetection', 'mmpretrain', 'onedl-mmpretrain')


class RunningJob:
    """A job that is under way: training first, then evaluation."""

    def __init__(self, job: Job, threads: int, tools: Path) -> None:
        self.job, self.threads, self.tools = job, threads, tools
        self.cfg = job.read_config()
        self.epochs = self.cfg.train_cfg.max_epochs
        check_weights(job, self.cfg)
        job.work_dir.mkdir(parents=True, exist_ok=True)
        rows.claim(job)
        self.commands = self._commands()
        self._start(next(self.commands))

    @property
    def detector(self) -> bool:
        return self.cfg.default_scope == 'mmdet'

    def _commands(self) -> Iterator[list[str]]:
        job, config = self.job, str(find_config(self.job.config))
        checkpoint = job.work_dir / f'epoch_{self.epochs}.pth'
        last = job.work_dir / 'last_checkpoint'  # written when a checkpoint is whole
        if not last.is_file() or Path(last.read_text()).name != checkpoint.name:
            yield ['train.py', config, '--resume', *job.arguments]
        if self.detector:
            predictions = str(job.work_dir / 'predictions.pkl')
            yield ['test.py', config, str(checkpoint), '--out', predictions, *job.arguments]
            yield ['report.py', config, predictions, *job.arguments]
        else:
            out = ['--out', str(job.work_dir / 'metrics.json'), '--out-item', 'metrics']
            yield ['test.py', config, str(checkpoint), *out, *job.arguments]

    def _start(self, command: list[str]) -> None:
        threads = str(self.threads)
        with (self.job.work_dir / 'output.log').open('a') as log:
            self.process = subprocess.Popen(
                [sys.executable, str(self.tools / command[0]), *command[1:]],
                env={**os.environ, 'OMP_NUM_THREADS': threads, 'MKL_NUM_THREADS': threads},
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_end_with_runner if sys.platform == 'linux' else None,
            )

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


def measure(cfg: Config) -> dict:
    """Count parameters and multiply-adds for a picture as the test pipeline makes it."""
    from mmengine.registry import DATASETS, MODELS, init_default_scope

    init_default_scope(cfg.default_scope)
    inputs = DATASETS.build(cfg.test_dataloader.dataset)[0]['inputs']
    parameters, mmacs = count(MODELS.build(cfg.model).eval(), inputs[None].float())
    return dict(parameters=parameters, mmacs=round(mmacs, 2), input='x'.join(map(str, inputs.shape[1:])))


def collect(study: Study, running: RunningJob) -> dict:
    """Make the row of a finished job.

    Raises:
        InputError: if its result does not have the study's metric, or its training left no log.
    """
    import torch

    job = running.job
    if running.detector:
        table = pd.read_csv(job.work_dir / 'report/ap_by_class.csv').set_index('class').ap
        metrics = dict(mAP=table.reindex(study.classes).mean(), mAP_all=table['mean'])
    else:
        metrics = json.loads((job.work_dir / 'metrics.json').read_text())
    metrics = {key: round(value, 4) for key, value in metrics.items() if isinstance(value, float) and value == value}
    if study.metric not in metrics:
        has = ', '.join(metrics) or 'none'
        raise InputError(f"the result of {job.model}, seed {job.seed} has no metric '{study.metric}': it has {has}")
    records = [record for record in rows.read_log(job.work_dir) if 'loss' in record]
    if not records:
        raise InputError(f'{job.work_dir} has a trained model but no log of its training: remove the folder')
    # The median, because a training may have been paused.
    seconds = max(record['iter'] for record in records) * median(record['time'] for record in records)
    machine = describe_machine(LIBRARIES)
    return dict(
        model=job.model,
        seed=job.seed,
        **metrics,
        **measure(running.cfg),
        epochs=running.epochs,
        minutes=round(seconds / 60, 1),
        config=job.config,
        options=job.settings,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else machine['cpu'],
        threads=running.threads,
        **machine,
    )


class Queue:
    """The waiting and the running jobs of a study, each running one with a progress bar."""

    def __init__(self, study: Study, jobs: Sequence[Job], csv: Path, progress: Progress) -> None:
        self.study, self.waiting, self.csv, self.progress = study, list(jobs), csv, progress
        self.running: dict[RunningJob, int] = {}
        self.failures: list[str] = []
        self.total = progress.add_task(f'{study.name}: {len(jobs)} jobs', total=len(jobs))

    def start_next(self, threads: int, tools: Path) -> None:
        """Start the next job; one that cannot start fails alone."""
        job = self.waiting.pop(0)
        try:
            started = RunningJob(job, threads, tools)
        except InputError as error:
            self._fail(error)
            self.progress.advance(self.total)
        else:
            label = f'{job.model}, seed {job.seed}'
            self.running[started] = self.progress.add_task(label, total=started.epochs)

    def poll(self) -> None:
        """Draw the progress, and write the results of jobs that have ended."""
        for running, bar in list(self.running.items()):
            self.progress.update(bar, completed=rows.read_progress(running.job.work_dir))
            try:
                if not running.finished():
                    continue
                row = collect(self.study, running)
                rows.write_result(running.job, row)
                rows.gather(self.study, self.csv)
                self.progress.console.print(f'{row["model"]}, seed {row["seed"]}: {row[self.study.metric]:.4f}')
            except InputError as error:
                self._fail(error)
            self.progress.remove_task(bar)
            self.progress.advance(self.total)
            del self.running[running]

    def _fail(self, error: InputError) -> None:
        self.failures.append(str(error))
        self.progress.console.print(f'error: {error}', markup=False)


def run_jobs(
    study: Study, jobs: Sequence[Job], csv: Path, tools: Path, at_once: int = 1, threads: int | None = None
) -> list[str]:
    """Run jobs of a study, with a bar over all and one for each that runs.

    Args:
        study: the study.
        jobs: those of its jobs that are to run.
        csv: the study's rows, to which those of finished jobs are added.
        tools: folder of ``train.py``, ``test.py`` and ``report.py``.
        at_once: how many jobs run at once.
        threads: of each job; the cores are divided among the jobs by default.

    Returns:
        A sentence for each job that failed. The others are not disturbed.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // at_once)
    columns = (TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    columns += (TimeRemainingColumn(elapsed_when_finished=True),)
    # Epochs are minutes apart, so the estimate is from all that has passed.
    with Progress(*columns, refresh_per_second=1, speed_estimate_period=1e9) as progress:
        queue = Queue(study, jobs, csv, progress)
        try:
            while queue.waiting or queue.running:
                while queue.waiting and len(queue.running) < at_once:
                    queue.start_next(threads, tools)
                queue.poll()
                time.sleep(0.5)
        finally:
            for running in queue.running:
                running.stop()
    return queue.failures
