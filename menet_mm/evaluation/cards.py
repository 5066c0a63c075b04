"""Pictures of mistakes as the page shows them: small JPEGs in the page, with boxes drawn by the browser."""

from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from menet_mm.errors import InputError
from menet_mm.utils.html import encode_jpeg
from menet_mm.utils.pictures import read_image

SIDE = 340  # pixels of the longer side of a picture on the page
BUDGET = 10_000_000  # characters of all pictures together


@dataclass
class Box:
    """A box on a picture of the page, in its pixels. ``role`` is case, truth, ignored or found; ``score`` of detections."""

    x: float
    y: float
    width: float
    height: float
    role: str
    text: str
    score: float | None = None


@dataclass
class Example:
    """A mistake: its ``kind``, ``labels`` of the classes concerned, a sentence, and the picture (``size``: its width, height).

    ``score`` is of the wrong answer, or for a missed object of the weaker detection that finds it, 0 if none does.
    """

    kind: str
    labels: tuple[int, ...]
    score: float
    text: str
    image: str = ''
    size: tuple[int, int] = (0, 0)
    boxes: list[Box] = field(default_factory=list)


def read_picture(info: dict) -> np.ndarray:
    """Read the picture of a data set's entry, as :func:`menet_mm.utils.pictures.read_image` does; ``InputError`` if it is broken."""
    # BoxDataset says of a picture if its boxes are not turned with it.
    image, defect = read_image(source := info['img_path'], turn=not info.get('unturned'))
    if defect:
        raise InputError(f'picture {source} cannot be read ({defect}): replace it, or take its id out of the list')
    return image


def cut(image: np.ndarray, window: tuple[int, int, int, int]) -> tuple[str, tuple[int, int]]:
    """Make the part of a picture inside x1, y1, x2, y2 a small JPEG for the page; returns its address, and width and height."""
    x1, y1, x2, y2 = window
    scale = SIDE / max(x2 - x1, y2 - y1)
    size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(image[y1:y2, x1:x2], size, interpolation=method)
    return encode_jpeg(Image.fromarray(np.ascontiguousarray(small[..., ::-1]))), size
