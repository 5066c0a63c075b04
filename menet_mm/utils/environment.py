"""What a figure was measured with: versions of libraries, the processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions that are installed, by name."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def describe_machine(libraries: Iterable[str]) -> dict[str, str | int]:
    """Stamp of a result file: processor, its vector instructions as torch names them, cores, versions, date."""
    import torch

    import menet_mm

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
