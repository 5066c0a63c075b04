"""A font that has the characters of a text. OpenCV's and Pillow's own fonts have ASCII's alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

#: Where systems and users keep fonts.
FOLDERS = ('/usr/share/fonts', '/usr/local/share/fonts', '~/.local/share/fonts', '~/.fonts', '/Library/Fonts')


def find_font(text: str, size: int, files: Sequence[Path] | None = None) -> ImageFont.FreeTypeFont | None:
    """Return the first font that has all characters of a text, or None.

    Pillow's own font is tried first, then ``files``, by default those in the system's folders and of matplotlib.
    """
    for file in (None, *(_system_fonts() if files is None else files)):
        if all(_has(file, character) for character in text):
            return _load(file, size)
    return None


@cache
def _system_fonts() -> list[Path]:
    folders = [Path(folder).expanduser() for folder in FOLDERS]
    if matplotlib := find_spec('matplotlib'):
        folders.append(Path(matplotlib.origin).parent / 'mpl-data/fonts/ttf')
    files = [file for folder in folders for ending in ('ttf', 'otf', 'ttc') for file in folder.rglob(f'*.{ending}')]
    fancy = ('Bold', 'Oblique', 'Italic', 'Mono', 'Serif', 'Light', 'Condensed')
    return sorted(
        files, key=lambda file: ('Sans' not in file.stem, sum(style in file.stem for style in fancy), file.name)
    )


@cache
def _load(file: Path | None, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


@cache
def _has(file: Path | None, character: str) -> bool:
    """Tell whether a font draws a character otherwise than one that it does not have."""
    try:
        font = _load(file, 24)
    except OSError:  # nothing that FreeType can read
        return False
    # Neither of the last two exists: a font that tells them apart draws placeholders for everything.
    drawn, missing, other = ((m.size, bytes(m)) for m in map(font.getmask, (character, '\U0010ffff', '\u0378')))
    return missing == other and (character.isspace() or drawn != missing)
