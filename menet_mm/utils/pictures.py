"""Pictures of a user: finding, reading and drawing on them."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from menet_mm.errors import InputError

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def find_images(patterns: list[str]) -> tuple[dict[Path, Path], int]:
    """Collect pictures; what a folder holds besides pictures, by their endings, is counted only.

    Returns:
        Where each picture's drawing goes inside ``--out``, by the picture's path, and the number of other files.

    Raises:
        InputError: if a pattern matches nothing.
    """
    targets: dict[Path, Path] = {}
    others = 0
    for pattern in patterns:
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise InputError(f'no such file, folder or glob: {pattern}')
        for match in map(Path, matches):
            if not match.is_dir():
                targets[match] = Path(match.name)
                continue
            files = sorted(path for path in match.rglob('*') if path.is_file())
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
            others += len(files) - len(pictures)
            targets.update({path: path.relative_to(match) for path in pictures})
    if not targets:
        raise InputError(f'no pictures in {", ".join(patterns)}: files ending in {", ".join(SUFFIXES)} were expected')
    taken: set[Path] = set()
    for path, target in targets.items():
        # cv2 writes by the ending; two pictures of one name in two folders both stay.
        name = target.with_suffix('.jpg')
        while name in taken:
            name = name.with_name(f'{name.stem}_.jpg')
        taken.add(name)
        targets[path] = name
    return targets, others


def find_defect(path: str) -> str | None:
    """Read a picture file to its end.

    Returns:
        What is wrong with it, in a few words, or None.
    """
    if not os.path.isfile(path):
        return 'no such file'
    try:
        with Image.open(path) as image:
            # Reads the whole file, so that truncation shows, but decodes a JPEG at an eighth of its size.
            image.draft('RGB', (image.width // 8, image.height // 8))
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error).replace(f" '{path}'", '') or type(error).__name__
    return None


def read_image(path: Path) -> tuple[np.ndarray | None, str | None]:
    """Read a picture.

    Returns:
        (H, W, 3), 8 bit, blue first, and None; or None and what is wrong with the file.
    """
    # OpenCV returns half a picture of a file that is cut off.
    defect = find_defect(str(path))
    image = None if defect else cv2.imread(str(path))
    return image, defect or ('OpenCV cannot read it' if image is None else None)


def draw_result(image: np.ndarray, result: dict) -> np.ndarray:
    """Draw what was found on a copy of a picture.

    Args:
        image: (H, W, 3), 8 bit, blue first.
        result: an entry of ``tools/infer.py --json``: ``detections`` with ``box``, ``class``, ``label`` and ``score``, or
            ``classes``, best first.
    """
    drawn = image.copy()
    # Readable on a thumbnail and on a large photograph.
    scale = max(0.4, min(image.shape[:2]) / 900)
    thickness = max(1, round(2 * scale))
    for found in reversed(result.get('detections', [])):
        colour = _colour(found['label'])
        x1, y1, x2, y2 = (round(value) for value in found['box'])
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, 2 * thickness)
        _write(drawn, f'{found["class"]} {found["score"]:.2f}', (x1, y1), scale, thickness, colour)
    for found in result.get('classes', [])[:1]:
        _write(drawn, f'{found["class"]} {found["score"]:.2f}', (0, 0), scale, thickness, (40, 40, 40))
    return drawn


def _colour(label: int) -> tuple[int, int, int]:
    """A colour for a class, such that neighbouring numbers are far apart on the hue circle."""
    hue = np.uint8([[[label * 67 % 180, 200, 200]]])
    return tuple(int(value) for value in cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0])


def _write(
    image: np.ndarray, text: str, corner: tuple[int, int], scale: float, thickness: int, colour: tuple[int, int, int]
) -> None:
    """Write text in white on a coloured ground, above a corner if there is room and inside the picture in any case."""
    (width, height), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    x = max(0, min(corner[0], image.shape[1] - width))
    y = max(height + base, corner[1])
    cv2.rectangle(image, (x, y - height - base), (x + width, y), colour, cv2.FILLED)
    cv2.putText(
        image, text, (x, y - base // 2 - 1), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness, cv2.LINE_AA
    )
