"""Files and folders that appear complete at the end of a block, or not at all: on a full disk, or when the process is killed."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from menet_mm.errors import InputError


@contextmanager
def atomic_files(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder; at the end its files move to ``folder``, in order of their names, and replace those there."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix='.partial') as partial:
        yield Path(partial)
        for path in sorted(Path(partial).iterdir()):
            os.replace(path, folder / path.name)


@contextmanager
def atomic_path(path: str | Path, option: str | None = None) -> Iterator[Path]:
    """Give a temporary place for a file, or a new folder, that then moves to ``path``; an ``InputError`` names the ``option``."""
    try:
        with atomic_files(Path(path).parent) as folder:
            yield folder / Path(path).name
    except OSError as error:
        if option:
            hint = 'make room, or give' if error.errno in (errno.ENOSPC, errno.EDQUOT) else 'give'
            raise InputError(f'{path} cannot be written ({error.strerror}): {hint} another {option}') from None
        if '.partial' in str(error.filename):
            error.filename = str(path)  # the name that the user knows
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding='utf-8')
