"""How a command ends."""

import errno
import os
from pathlib import Path

import pytest

from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text


def refuse() -> None:
    raise InputError('this cannot be')


def fill_a_disk() -> None:
    Path('/dev/full').write_text('x')


def replace_a_folder() -> None:
    Path('part').touch()
    Path('taken').mkdir()
    os.replace('part', 'taken')


@pytest.mark.parametrize(
    ('main', 'sentence'),
    [
        (refuse, 'this cannot be'),
        (fill_a_disk, 'a file cannot be written (No space left on device): make room, or give another path'),
        (replace_a_folder, 'taken cannot be written or read (Is a directory): give another path'),
        (lambda: Path('none.txt').read_text(), 'none.txt cannot be written or read (No such file or directory)'),
        (lambda: write_text('/proc/x', ''), 'error: /proc/x cannot be written or read '),
    ],
)
def test_a_mistake_ends_in_one_sentence(main, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='^error: ') as ended:
        run(main)
    assert sentence in ended.value.code


def test_what_is_nobodys_mistake_keeps_its_traceback():
    def fail() -> None:
        raise OSError(errno.EIO, 'broken')

    with pytest.raises(OSError, match='broken'):
        run(fail)
