"""A contestant of :mod:`benchmarks.race` in its own process; with an exported model it imports no torch.

:func:`main` takes its setup from the command line and answers the lines ``measure`` and ``peak`` of its standard input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from menet_mm.deploy.runner import load_backend

#: Stands before what is meant for the parent.
ANSWER = 'answer: '
#: A measurement lasts at least this long, in seconds, so that the clock and the turn's first run do not matter.
SECONDS = 0.1


@dataclass(frozen=True)
class Contestant:
    """One way to run a network.

    - ``network``: a config's name, such as ``menet228_in1k`` or ``ssd_menet228_voc``;
    - ``source``: ``menet_mm`` or ``pytorchcv``, whose weights are random alike;
    - ``runtime``: ``torch`` or one of the exported;
    - ``form``: ``plain`` (as trained), ``default`` (as torch exports it if one asks for nothing), ``deploy`` (ours) or
      ``compiled`` (ours, by ``torch.compile`` with frozen weights); of a training ``plain``, ``default`` (with memory kept, as
      ``tools/train.py`` does), ``channels_last`` or ``compiled`` (the same with the memory format or ``torch.compile``);
    - ``precision``: ``fp32``, ``bf16`` (in torch by autocast) or ``int8``;
    - ``batch``, ``threads``.
    """

    network: str
    source: str
    runtime: str
    form: str
    precision: str = 'fp32'
    batch: int = 1
    threads: int = 1
    training: bool = False


def build(setup: dict) -> Callable[[], object]:
    """Make the function that is timed."""
    path, interface = setup.pop('path'), setup.pop('interface')
    contestant = Contestant(**setup)
    if path is None:
        from benchmarks.race import build_torch

        return build_torch(contestant)
    image = np.random.default_rng(0).random(interface['input']['shape'], np.float32)
    precision = 'bf16' if contestant.precision == 'bf16' else 'fp32'
    backend = load_backend(Path(path), interface, contestant.threads, precision)
    return lambda: backend(image)


def peak_memory() -> float:
    """The most memory that this process has held, in MB; not getrusage's, which counts the parent's before exec."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmHWM'))


def main() -> None:
    """Build, warm up, and answer until the input ends."""
    step = build(json.loads(sys.argv[1]))
    for _ in range(3):
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
