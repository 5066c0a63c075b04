"""Files and folders that appear complete or not at all, also on a full disk or when the process is killed."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``, with the same ending, for a file or a folder that gets the name at the end.

    A file that is there is replaced; a folder must not be there. If the block fails, ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{uuid.uuid4().hex[:8]}.partial.{path.name}')
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if str(error.filename) == str(partial):
            error.filename = str(path)  # the name that the user knows
        raise
    finally:
        if partial.is_dir():
            shutil.rmtree(partial)
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_files(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder for files that belong together; at the end they move to ``folder``, in order of their names.

    Files that are there are replaced. If the block fails, ``folder`` stays as it was.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix='.partial') as partial:
        yield Path(partial)
        for path in sorted(Path(partial).iterdir()):
            os.replace(path, folder / path.name)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding='utf-8')
