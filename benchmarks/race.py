"""Speed, measured as ratios: contestants take turns, each in a process of its own, and medians of rounds are compared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.build import LIBRARIES, count_mmacs, export_model, input_size
from benchmarks.contestant import Contestant
from benchmarks.lineup import references
from benchmarks.machine import describe_machine
from benchmarks.worker import ANSWER, Setup
from menet_mm.errors import InputError

#: Every contestant is started anew this often at least, and once in so many rounds: where a process's memory happens to lie
#: changes its speed by several per cent.
STARTS, ROUNDS_OF_A_START = 3, 5


def race(
    contestants: Sequence[Contestant],
    folder: Path,
    rounds: int = 15,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Let contestants run in turns, and compare them.

    Args:
        contestants: who takes part.
        folder: where exported models are kept, to be used again as long as code, config and versions stay as they are.
        rounds: measured turns of each, in several processes one after the other, see :data:`STARTS`.
        progress: gets a line at every step.

    Returns:
        A row each: the contestant, ``mmacs`` of its network (of a picture), ``milliseconds`` (median over rounds, of a
        batch), ``low`` and ``high`` (quartiles), ``ratio`` (median of the ratios within a round, to the contestant that
        :func:`references` names), ``images_per_second``, ``peak_mb`` of its process, and what it was measured on.

    Raises:
        InputError: if a contestant cannot be built or run.
    """
    mmacs = [count_mmacs(contestant.network) for contestant in contestants]
    setups = []
    for number, contestant in enumerate(contestants):
        progress(f'{number + 1}/{len(contestants)} {contestant}')
        if contestant.runtime == 'torch':
            setups.append(Setup(contestant))
        else:
            path = str(export_model(contestant, folder).resolve())
            setups.append(Setup(contestant, path, input_size(contestant.network)))
    seconds, peaks = _take_turns(setups, rounds, progress)
    milliseconds = 1000 * np.percentile(seconds, [50, 25, 75], axis=0)
    ratios = np.median(seconds / seconds[:, references(contestants)], axis=0)
    stamp = describe_machine(LIBRARIES)
    rows = []
    for k, contestant in enumerate(contestants):
        median, low, high = milliseconds[:, k].round(3)
        rows.append(
            dict(
                asdict(contestant),
                mmacs=mmacs[k],
                milliseconds=median,
                low=low,
                high=high,
                ratio=round(ratios[k], 3),
                images_per_second=round(1000 * contestant.batch / milliseconds[0, k], 1),
                peak_mb=peaks[k],
                rounds=rounds,
                **stamp,
            )
        )
    return pd.DataFrame(rows)


def _take_turns(setups: Sequence[Setup], rounds: int, progress: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Measure seconds (rounds, contestants) and the largest memory in MB (contestants)."""
    seconds = np.zeros((rounds, len(setups)))
    peaks = np.zeros(len(setups), int)
    starts = min(rounds, max(STARTS, rounds // ROUNDS_OF_A_START))
    for part in np.array_split(np.arange(rounds), starts):
        workers = []
        try:
            for setup in setups:
                progress(f'starting {setup.contestant}')
                workers.append(_Worker(setup))
            for worker in workers:
                worker.ask('measure')  # to warm up
            for i in part:
                progress(f'round {i + 1} of {rounds}')
                # At random, since a turn depends on what the one before it left in the caches.
                for k in np.random.default_rng(i).permutation(len(workers)):
                    seconds[i, k] = workers[k].ask('measure')
            peaks = np.maximum(peaks, [round(worker.ask('peak')) for worker in workers])
        finally:
            for worker in workers:
                worker.stop()
    return seconds, peaks


class _Worker:
    """A contestant in a process of its own: runtimes in one process would share threads, memory and caches."""

    def __init__(self, setup: Setup) -> None:
        self.contestant = setup.contestant
        code = 'from benchmarks.worker import main; from menet_mm.utils.cli import run; run(main)'
        if setup.model:
            # As on a device, where the package finds no MMEngine to register itself with.
            code = f'import sys; sys.modules["mmengine"] = None; {code}'
        path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get('PYTHONPATH', '')])
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', code, setup.to_json()],
            env={**os.environ, 'OMP_NUM_THREADS': str(setup.contestant.threads), 'PYTHONPATH': path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self._receive()
        except InputError:
            self.stop()
            raise

    def _receive(self) -> float:
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return float(line.removeprefix(ANSWER))
        raise InputError(f'{self.contestant} cannot be run: its error is above')

    def ask(self, question: str) -> float:
        """Get an answer: ``measure`` for seconds of a run, ``peak`` for the most memory that the process held, in MB."""
        self.process.stdin.write(f'{question}\n')
        self.process.stdin.flush()
        return self._receive()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()
