"""The checkpoints that one training leaves in a folder: their order, and which of them are whole."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

#: ``epoch_3.pth``; ``epoch_3_iter_40.pth``, saved within the fourth epoch; ``iter_40.pth`` of a training by iterations.
NAME = re.compile(r'(?:epoch_(\d+))?_?(?:iter_(\d+))?\.pth')


def list_checkpoints(folder: Path) -> list[Path]:
    """Return what a training can go on from, the newest last; the best ones hold weights alone, and are not among them."""
    found = [(match, path) for path in folder.glob('*.pth') if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted((tuple(int(n or 0) for n in match.groups()), path) for match, path in found)]


def find_damage(path: Path) -> str | None:
    """Return what is wrong with a file of ``torch.save``, in a few words, or None.

    It is an archive with a checksum of each tensor, which torch does not look at when it loads.
    """
    try:
        if path.stat().st_size == 0:
            return 'empty'
        with zipfile.ZipFile(path) as archive:
            return f'{name} is damaged' if (name := archive.testzip()) else None
    except Exception as error:  # a damaged archive can fail in any way
        return str(error) or type(error).__name__


def newest_readable(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest whole checkpoint, or None, and what was passed over, with what is wrong with each.

    ``last_checkpoint`` says where the training was; files beyond it are of an earlier one.
    """
    files, passed = list_checkpoints(folder), []
    note = folder / 'last_checkpoint'
    last = note.read_text(errors='replace').strip().rpartition('/')[2] if note.is_file() else ''
    if last in [path.name for path in files]:
        files = [path for path in files if files.index(path) <= files.index(folder / last)]
    elif last:
        passed.append(f'{last} (not there)')
    for path in reversed(files):
        if not (damage := find_damage(path)):
            return path, passed
        passed.append(f'{path.name} ({damage})')
    return None, passed
