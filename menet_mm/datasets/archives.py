"""Unpacking archives that may hold anything."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath

from menet_mm.errors import InputError


def unpack(path: Path, root: Path) -> None:
    """Unpack a tar archive of plain files and folders into ``root``.

    Raises:
        InputError: naming the first entry that is a link, a device or outside of ``root``, before anything is unpacked; or
            if the archive is damaged.
    """
    try:
        with tarfile.open(path) as tar:
            for entry in tar:
                name = PurePosixPath(entry.name)
                if name.is_absolute() or '..' in name.parts or not (entry.isfile() or entry.isdir()):
                    raise InputError(
                        f'{path} holds {entry.name!r}, which is a link, a device or outside of {root}: nothing was unpacked; '
                        'get the archive from where it is published'
                    )
            tar.extractall(root, filter='data')
    except tarfile.TarError as error:
        raise InputError(f'{path} cannot be unpacked ({error}): remove it, and run the same command again') from None
