"""A storage backend of mmengine for local files that are never half written."""

from __future__ import annotations

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from menet_mm.utils.files import atomic_path


class AtomicBackend(LocalBackend):
    """mmengine's local backend, but a file is on the disk when it gets its name; ``dict(backend='menet_mm')`` in a config.

    Killed or without room while it writes, a file that has the name stays as it was.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write a file; raises ``OSError`` with its name, also on a full disk."""
        try:
            with atomic_path(filepath) as partial, open(partial, 'wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            error.filename = str(filepath)  # a failed write has none
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write a text file as :meth:`put` does."""
        self.put(obj.encode(encoding), filepath)


register_backend('menet_mm', AtomicBackend, force=True)
