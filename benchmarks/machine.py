"""What a figure was measured with: the processor, versions of libraries, the day; also for the studies."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import menet_mm
from menet_mm.utils.environment import library_versions


def describe_machine(libraries: Iterable[str]) -> dict[str, str | int]:
    """Stamp of a result file: processor, its vector instructions as torch names them, cores, versions, date."""
    import torch  # not loaded by who only imports this

    kernel = Path('/proc/cpuinfo')
    lines = kernel.read_text().splitlines() if kernel.is_file() else []
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return dict(
        cpu=names[0] if names else platform.machine(),
        vectors=torch.backends.cpu.get_cpu_capability(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        **library_versions(libraries),
        menet_mm=menet_mm.__version__,
        date=date.today().isoformat(),
    )
