"""What a figure was measured with: versions of libraries, the processor."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def library_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of the distributions that are installed, by name."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor_name() -> str:
    """The processor's name, as the kernel knows it."""
    cpu = Path('/proc/cpuinfo')
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    return next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), platform.machine())


def describe_machine(libraries: Iterable[str]) -> dict[str, str | int]:
    """Stamp of a result file: processor, its vector instructions as torch names them, cores, versions, date."""
    import torch

    import menet_mm

    return dict(
        cpu=processor_name(),
        vectors=torch.backends.cpu.get_cpu_capability(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        **library_versions(libraries),
        menet_mm=menet_mm.__version__,
        date=date.today().isoformat(),
    )
