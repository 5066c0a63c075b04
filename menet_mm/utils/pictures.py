"""Pictures of a user, which may come from anywhere: finding, reading, drawing on them, writing."""

import glob
import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from menet_mm.errors import InputError
from menet_mm.utils.files import atomic_path

#: What Pillow may try. Of the others, EPS would start Ghostscript with whatever the file says.
FORMATS = ('BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'SUN', 'TIFF', 'WEBP')
SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')
FONTS = ('/usr/share/fonts', '/usr/local/share/fonts', '~/.local/share/fonts', '~/.fonts', '/Library/Fonts')


def find_images(patterns: list[str]) -> tuple[dict[Path, Path], int]:
    """Collect pictures of files, folders (searched to the bottom) and globs; ``InputError`` if one matches nothing.

    Returns where each picture's drawing goes inside ``--out``, by the picture's path, and the number of other files in folders.
    """
    found, others = {}, 0  # the folder that was searched, by picture
    for pattern in patterns:
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise InputError(f'no such file, folder or glob: {pattern}')
        for match in map(Path, matches):
            files = sorted(path for path in match.rglob('*') if path.is_file())
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
            others += len(files) - len(pictures)
            found |= dict.fromkeys(pictures, match) if match.is_dir() else {match: match.parent}
    if not found:
        raise InputError(f'no pictures in {", ".join(patterns)}: files ending in {", ".join(SUFFIXES)} were expected')
    targets = {}
    for path, folder in found.items():
        target = path.relative_to(folder).with_suffix('.jpg')
        while target in targets:  # two pictures of one name in two folders both stay
            target = target.with_name(f'{target.stem}_.jpg')
        targets[target] = path
    return {path: target for target, path in targets.items()}, others


def find_defect(path: str) -> str | None:
    """Read a picture file to its end; returns what is wrong with it, in a few words, or None."""
    if not os.path.isfile(path):
        return 'no such file'
    try:
        with Image.open(path, formats=FORMATS) as image:
            # Reads the whole file, so that truncation shows, but decodes a JPEG at an eighth of its size.
            image.draft('RGB', (image.width // 8, image.height // 8))
            image.load()
    except Exception as error:  # a decoder may raise anything on a damaged file
        if not isinstance(error, UnidentifiedImageError) or not cv2.haveImageReader(path):
            return str(error).replace(f" '{path}'", '') or type(error).__name__
    return None


def read_image(path: Path, turn: bool = True) -> tuple[np.ndarray | None, str | None]:
    """Read a picture: (H, W, 3), 8 bit, blue first, and None; or None and what is wrong with the file.

    It is turned as EXIF says, unless ``turn`` is false.
    """
    if defect := find_defect(str(path)):  # of a file that is cut off, OpenCV returns half a picture
        return None, defect
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR | (0 if turn else cv2.IMREAD_IGNORE_ORIENTATION))
    except cv2.error:  # more pixels than it allows
        image = None
    return image, 'OpenCV cannot read it' if image is None else None


def write_image(path: Path, image: np.ndarray, options: Sequence[int] = ()) -> None:
    """Write a picture (H, W, 3), blue first; ``options`` are of ``cv2.imencode``. Raises ``InputError`` if that fails."""
    with atomic_path(path, '--out') as partial:
        partial.write_bytes(cv2.imencode(path.suffix, image, options)[1])


def shrink(image: np.ndarray, longest: int) -> np.ndarray:
    """Make a picture (H, W, 3) smaller if a side has more than ``longest`` pixels."""
    scale = longest / max(image.shape[:2])
    if scale >= 1:
        return image
    return cv2.resize(image, [max(1, round(scale * side)) for side in image.shape[1::-1]], interpolation=cv2.INTER_AREA)


def draw_result(image: np.ndarray, result: dict, fonts: Sequence[Path] | None = None) -> np.ndarray:
    """Draw an entry of ``tools/infer.py --json``, with or without scores, on a copy of a picture (H, W, 3), 8 bit, blue first."""
    drawing = Image.fromarray(image)  # Pillow takes blue for red, which only changes the hue of the boxes
    canvas, (width, height) = ImageDraw.Draw(drawing), drawing.size
    scale = max(0.4, min(width, height) / 900)  # readable on a thumbnail and on a large photograph

    def write(found: dict, corner: Sequence[int], colour: str) -> None:
        # The class, or its number if no font can write its name; above the corner if there is room.
        score, size = f'{found["score"]:.2f}' if 'score' in found else '', round(34 * scale)
        texts = [' '.join(f'{name} {score}'.split()) for name in (found['class'], found['label'])]
        text, font = next((text, font) for text in texts if (font := find_font(text, size, fonts)))
        left, top, right, bottom = canvas.textbbox((0, 0), text, font)
        edge = max(1, size // 6)
        w, h = right - left + 2 * edge, bottom - top + 2 * edge
        x, y = max(0, min(corner[0], width - w)), max(0, min(corner[1], height) - h)
        canvas.rectangle((x, y, x + w - 1, y + h - 1), fill=colour)
        canvas.text((x + edge - left, y + edge - top), text, 'white', font)

    for found in reversed(result.get('detections', [])):
        box = [round(value) for value in found['box']]
        colour = f'hsv({found["label"] * 134 % 360}, 78%, 78%)'  # neighbouring numbers are far apart
        canvas.rectangle(box, outline=colour, width=2 * max(1, round(2 * scale)))
        write(found, box[:2], colour)
    for found in result.get('classes', [])[:1]:
        write(found, (0, 0), 'rgb(40, 40, 40)')
    return np.array(drawing)


def find_font(text: str, size: int, files: Sequence[Path] | None = None) -> ImageFont.FreeTypeFont | None:
    """Return the first font that has all characters: Pillow's, or of ``files``, by default the system's; or None."""
    files = _system_fonts() if files is None else files
    return next((_load(file, size) for file in (None, *files) if all(_has(file, letter) for letter in text)), None)


@cache
def _system_fonts() -> list[Path]:
    folders = [Path(folder).expanduser() for folder in FONTS]
    if matplotlib := find_spec('matplotlib'):
        folders.append(Path(matplotlib.origin).parent / 'mpl-data/fonts/ttf')
    files = [file for folder in folders for file in folder.rglob('*.[ot]t[cf]')]
    fancy = ('Bold', 'Oblique', 'Italic', 'Mono', 'Serif', 'Light', 'Condensed')
    return sorted(files, key=lambda file: ('Sans' not in file.stem, sum(s in file.stem for s in fancy), file.name))


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
