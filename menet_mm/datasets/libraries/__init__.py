"""What the data sets of mmdet and mmpretrain read: checked before a start, and read as labelling tools write it.

``READERS``: the classes whose methods read the form. ``check(config, data_hint)`` raises :class:`~menet_mm.errors.InputError`.
"""

from collections import Counter
from pathlib import Path

from mmengine.logging import print_log

from menet_mm.datasets.formats.files import read_text
from menet_mm.errors import InputError


def existing(dataset: dict, path: str, data_hint: str | None, folder: bool = False) -> Path:
    """Return a file or a folder, seen from ``data_root``; raise ``InputError`` with how to get the data if it is not there."""
    found = Path(dataset.get('data_root') or '', path)
    if not (found.is_dir() if folder else found.is_file()):
        advice = f'{data_hint or "get it"}, or set data_root to where it is'
        raise InputError(f'no data set: {found} does not exist; {advice}')
    return found


def class_names(dataset: dict) -> list[str]:
    """Names in ``metainfo.classes``, which may also be a text file with a name on each line; empty if not given."""
    names = (dataset.get('metainfo') or {}).get('classes') or ()
    if isinstance(names, str):
        return [name for _, name in read_lines(Path(names))] if Path(names).is_file() else [names]
    return list(names)


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read a text file: the number of each line, from 1, and its text without blanks around it. Empty lines are left out.

    A byte order mark and any ends of lines are read as meant.

    Raises:
        InputError: if it is no text.
    """
    try:
        text = read_text(path)
    except InputError:
        raise InputError(f'{path} is no text: a list of names, one a line, in UTF-8 was expected') from None
    return [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]


class Notes:
    """What is changed or left out while a file is read: a count for each kind, and the first case."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, case: object) -> None:
        """Count one more of a kind; ``kind`` reads on from the count, such as ``'boxes have no area'``."""
        self.counts[kind] += 1
        self.first.setdefault(kind, str(case))

    def lines(self, source: object) -> list[str]:
        """One line for each kind."""
        return [f'{source}: {number} {kind} (the first: {self.first[kind]})' for kind, number in self.counts.items()]

    def log(self, source: object) -> None:
        """Warn with the lines."""
        for line in self.lines(source):
            print_log(line, 'current', 30)  # logging.WARNING
