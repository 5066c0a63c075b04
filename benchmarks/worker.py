"""The process of one contestant of :mod:`benchmarks.race`; with an exported model it imports no torch.

:func:`main` takes a :class:`Setup` as JSON from the command line, and answers the lines ``measure`` and ``peak`` of its
standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.contestant import Contestant
from menet_mm.deploy.runtimes import runtime_of
from menet_mm.errors import InputError

#: Stands before each line that is meant for the parent, since libraries print, too.
ANSWER = 'answer: '
#: A measurement lasts at least this long, in seconds, so that the clock and the first run of a turn do not matter.
SECONDS = 0.1


@dataclass(frozen=True)
class Setup:
    """What a worker needs: the contestant and, of an exported one, its ``model`` file and (h, w) of a picture as ``size``."""

    contestant: Contestant
    model: str | None = None
    size: tuple[int, int] | None = None

    def to_json(self) -> str:
        """Write it in one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """Read what :meth:`to_json` wrote."""
        content = json.loads(text)
        return cls(**dict(content, contestant=Contestant(**content['contestant'])))


def make_step(setup: Setup) -> Callable[[], Sequence[np.ndarray] | None]:
    """Make the function that is timed. In inference it returns the outputs for the whole batch.

    A runtime that takes one picture at a time (``Runtime.dynamic_batch``) runs those of a batch one after the other.
    """
    contestant = setup.contestant
    if setup.model is None:
        from benchmarks.build import make_torch_step

        return make_torch_step(contestant)
    runtime = runtime_of(Path(setup.model))
    run = runtime.load(
        Path(setup.model),
        runtime.input_name,
        threads=contestant.threads,
        precision='bf16' if contestant.precision == 'bf16' else 'fp32',
        int8=contestant.precision == 'int8',
    )
    pictures = np.random.default_rng(0).random((contestant.batch, 3, *setup.size), np.float32)
    return lambda: run(pictures)


def check_outputs(outputs: Sequence[np.ndarray], batch: int) -> None:
    """Check that a runtime computed every picture of a batch, so that its throughput is not of fewer.

    Args:
        outputs: of ``batch`` pictures that differ.
        batch: how many there were.

    Raises:
        InputError: if the first dimension of an output is another, or two pictures have the same outputs.
    """
    for output in outputs:
        if len(output) != batch:
            raise InputError(f'a batch of {batch} pictures gave {len(output)} results: it cannot be measured')
    rows = np.concatenate([np.reshape(output, (batch, -1)) for output in outputs], axis=1)
    if batch > 1 and len(np.unique(rows, axis=0)) != batch:
        raise InputError(f'a batch of {batch} different pictures gave the same result twice: it cannot be measured')


def peak_memory() -> float:
    """The most memory that this process has held, in MB; not getrusage's, which counts the parent's before exec."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))


def main() -> None:
    """Build, check, warm up, and answer until the input ends."""
    setup = Setup.from_json(sys.argv[1])
    step = make_step(setup)
    if not setup.contestant.training:
        check_outputs(step(), setup.contestant.batch)
    for _ in range(2):
        step()
    start = perf_counter()
    step()
    repeats = max(1, round(SECONDS / (perf_counter() - start)))
    print(f'{ANSWER}0', flush=True)
    for question in sys.stdin:
        if question.strip() == 'peak':
            print(f'{ANSWER}{peak_memory()}', flush=True)
            continue
        start = perf_counter()
        for _ in range(repeats):
            step()
        print(f'{ANSWER}{(perf_counter() - start) / repeats}', flush=True)
