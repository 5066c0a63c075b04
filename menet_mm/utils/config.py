"""Configs: finding them by file or by name."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from menet_mm.errors import InputError

#: The installed package's configs.
CONFIGS = Path(__file__).parents[1] / '.mim/configs/menet'


def find_config(name: str | Path) -> Path:
    """Find a config, the same way in every command and function.

    Args:
        name: a file; or a name without folder and ending, such as ``ssd_menet228_voc``, which is looked for in ``configs/``
            of the current folder and then among the package's.

    Raises:
        InputError: if there is neither such a file nor such a name, with the nearest names.
    """
    path = Path(name)
    if path.is_file():
        return path
    folders = (Path('configs'), CONFIGS)
    if path.parent == Path() and not path.suffix:
        for folder in folders:
            if (found := folder / f'{name}.py').is_file():
                return found
    known = sorted({file.stem for folder in folders for file in folder.glob('*.py')})
    near = get_close_matches(path.stem, known, n=3)
    raise InputError(
        f'no config {name}: give a file, or a name such as {" or ".join(near or ["ssd_menet228_voc", "menet228_in1k"])}'
    )
