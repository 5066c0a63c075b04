"""A generated miniature detection set, so that the main job runs without a download. Its classes differ in shape alone.

Everything comes from numpy's seeded PCG64 and is rounded to whole pixels, so that every machine gets the same annotations.
"""

import json
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.files import atomic_path, write_text
from menet_mm.utils.pictures import write_image

CORNERS = dict(circle=64, square=4, triangle=3, star=10)  # of an outline, by class
CLASSES = tuple(CORNERS)
SIDES = (0.10, 0.60)  # of the picture
MAX_OBJECTS = 6
MAX_COVERED = 0.4  # part of an object's box that a later object may cover
BACKGROUNDS = (('gradient', 'stripes', 'clouds'), ('waves', 'cells'))  # of training and of held-out pictures
VERSION = 1  # raised whenever the pictures change, so that an older set is made anew


class Shape(NamedTuple):
    """One object: its class, its outline in pixels, and the visible part of its bounding box."""

    name: str
    outline: np.ndarray  # (P, 2) x, y
    box: tuple[int, int, int, int]  # x1, y1, x2, y2, zero-based, x2 and y2 exclusive
    truncated: bool


def make_shapes(out: str | Path, train: int = 2000, test: int = 300, seed: int = 0) -> Path:
    """Write ``train`` pictures for ``trainval`` and ``test`` held-out ones into a folder, and return it.

    It holds ``VOC2007`` and, in COCO's form, ``annotations/{trainval,test}.json``. The same set is not made twice. Raises
    ``InputError`` if a number is too small, or ``out`` holds something else or cannot be written.
    """
    out = Path(out)
    if min(train, test) < 1:
        raise InputError(f'both splits need at least one picture, but got train={train} and test={test}')
    if seed < 0:
        raise InputError(f'the seed must be 0 or more, but got {seed}: give another --seed')
    recipe = dict(version=VERSION, train=train, test=test, seed=seed, classes=list(CLASSES))
    stamp = out / 'shapes.json'
    if stamp.is_file() and json.loads(stamp.read_text()) == recipe:
        return out
    if out.exists() and any(out.iterdir()) and not stamp.is_file():
        raise InputError(f'{out} holds something else: choose an empty folder with --out')
    with atomic_path(out, '--out') as folder:
        for split, count in (('trainval', train), ('test', test)):
            _write_split(folder, split, count, seed)
        write_text(folder / stamp.name, json.dumps(recipe))
        shutil.rmtree(out, ignore_errors=True)
    return out


def _write_split(root: Path, split: str, count: int, seed: int) -> None:
    voc, held_out = root / 'VOC2007', split == 'test'
    coco = dict(images=[], annotations=[], categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES, 1)])
    ids = [f'{split}_{i:05d}' for i in range(count)]
    for i, image_id in enumerate(track(ids, f'Drawing {split}', disable=count < 100)):
        picture, shapes = draw(np.random.default_rng((seed, held_out, i)), held_out)
        size = dict(width=picture.shape[1], height=picture.shape[0])
        write_image(voc / f'JPEGImages/{image_id}.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        write_text(voc / f'Annotations/{image_id}.xml', _voc_xml(f'{image_id}.jpg', size, shapes))
        coco['images'].append(dict(size, id=i, file_name=f'{image_id}.jpg'))
        for shape in shapes:
            x1, y1, x2, y2 = shape.box
            entry = dict(id=len(coco['annotations']) + 1, image_id=i, category_id=CLASSES.index(shape.name) + 1)
            box = dict(bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), iscrowd=0)
            coco['annotations'].append(entry | box)
    write_text(voc / f'ImageSets/Main/{split}.txt', '\n'.join(ids) + '\n')
    write_text(root / f'annotations/{split}.json', json.dumps(coco))


def _voc_xml(filename: str, size: dict, shapes: list[Shape]) -> str:
    def tags(**content: object) -> str:
        return ''.join(f'<{name}>{value}</{name}>' for name, value in content.items())

    content = tags(folder='VOC2007', filename=filename, size=tags(**size, depth=3))
    for name, _, (x1, y1, x2, y2), truncated in shapes:
        # VOC counts pixels from 1 and includes the last one.
        box = tags(xmin=x1 + 1, ymin=y1 + 1, xmax=x2, ymax=y2)
        content += tags(object=tags(name=name, pose='Unspecified', truncated=int(truncated), difficult=0, bndbox=box))
    root = ET.fromstring(tags(annotation=content))
    ET.indent(root)
    return ET.tostring(root, encoding='unicode')


def draw(rng: Generator, held_out: bool) -> tuple[np.ndarray, list[Shape]]:
    """Draw one picture (H, W, 3), 8 bit, blue first; returns it with its objects from back to front."""
    width, height = rng.integers(160, 257, 2).tolist()
    dull = rng.uniform(40, 215, (2, 1)) + rng.uniform(-20, 20, (2, 3))  # grey with a tint
    picture = _texture(rng, width, height, BACKGROUNDS[held_out], dull)
    _clutter(rng, picture)
    shapes = _place_objects(rng, width, height)
    for _, outline, (x1, y1, x2, y2), _ in shapes:
        # Four fractional bits keep the edge where the outline says.
        mask, corners = np.zeros((height, width), np.float32), np.round(outline * 16).astype(np.int32)
        cv2.fillPoly(mask, [corners], 1.0, cv2.LINE_AA, shift=4)
        mask, area = mask[y1:y2, x1:x2, None], picture[y1:y2, x1:x2]
        texture = _texture(rng, x2 - x1, y2 - y1, ('plain', *BACKGROUNDS[False]), np.stack([_vivid(rng), _vivid(rng)]))
        area[:] = area * (1 - mask) + np.clip(texture, 0, 255) * mask
    noise = rng.normal(0, rng.uniform(1, 6), picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), shapes


def _place_objects(rng: Generator, width: int, height: int) -> list[Shape]:
    shapes, number = [], int(rng.integers(1, MAX_OBJECTS + 1))
    for _ in range(20 * number):
        shape = _random_shape(rng, width, height) if len(shapes) < number else None
        if shape and all(_covered(shape.box, other.box) <= MAX_COVERED for other in shapes):
            shapes.append(shape)
    return shapes or _place_objects(rng, width, height)


def _random_shape(rng: Generator, width: int, height: int) -> Shape | None:
    """Draw an object; None if it does not meet the limits on sides."""
    name, angle = CLASSES[rng.integers(len(CLASSES))], rng.uniform(-0.3, 0.3)
    corners = np.arange(CORNERS[name])
    angles = 2 * np.pi * corners / len(corners) - np.pi / 2 + (np.pi / 4 if name == 'square' else 0)
    radius = np.where(corners % 2, 0.42, 1.0) if name == 'star' else 1.0
    outline = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    outline @= np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline -= outline.min(axis=0)
    outline /= outline.max(axis=0)  # its bounding box is now the unit square
    side, stretch = rng.uniform(*SIDES) * min(width, height), np.exp(rng.uniform(-0.25, 0.25))
    size = np.array([side * stretch, side / stretch])
    inside, outside = (0.6, 0.4) if rng.random() < 0.2 else (1, 0)  # least and largest part; the border cuts off some
    outline = outline * size + rng.uniform(-outside * size, (width, height) - inside * size)
    full = np.concatenate([np.floor(outline.min(axis=0)), np.ceil(outline.max(axis=0))]).astype(int)
    box = np.clip(full, 0, [width, height, width, height])
    sides = (box[2:] - box[:2]) / (width, height)
    if (sides < SIDES[0]).any() or (sides > SIDES[1]).any():
        return None
    return Shape(name, outline, tuple(box.tolist()), truncated=bool((box != full).any()))


def _covered(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Overlap of two boxes as a part of the smaller one."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0) * max(h, 0) / min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))


def _texture(rng: Generator, width: int, height: int, kinds: Sequence[str], colours: np.ndarray) -> np.ndarray:
    """A rectangle (H, W, 3) with a texture of two colours (2, 3), float32 in 0..255."""
    one, two = colours.astype(np.float32)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    along = x * np.cos(angle) + y * np.sin(angle)
    kind, mix = kinds[rng.integers(len(kinds))], np.zeros_like(x)
    if kind == 'gradient':
        mix = (along - along.min()) / max(np.ptp(along), 1)
    elif kind == 'stripes':
        mix = (np.sin(along * 2 * np.pi / rng.uniform(8, 40)) > 0).astype(np.float32)
    elif kind == 'clouds':
        coarse = rng.random((int(rng.integers(3, 9)), int(rng.integers(3, 9)))).astype(np.float32)
        mix = np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1)
    elif kind == 'waves':
        across = y * np.cos(angle) - x * np.sin(angle)
        mix = 0.5 + 0.5 * np.sin(along / rng.uniform(3, 12) + 2 * np.sin(across / rng.uniform(6, 24)))
    elif kind == 'cells':  # each pixel takes the tone of the nearest of a few seeds
        seeds = rng.uniform((0, 0), (width, height), (25, 2))
        nearest = ((x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2).argmin(axis=-1)
        mix = rng.random(len(seeds)).astype(np.float32)[nearest]
    return one + (two - one) * mix[..., None]


def _clutter(rng: Generator, picture: np.ndarray) -> None:
    """Scribble lines and small blots, none of which looks like a class."""
    height, width = picture.shape[:2]
    for _ in range(rng.integers(4, 16)):
        colour = _vivid(rng).tolist()
        points = rng.uniform((0, 0), (width, height), (int(rng.integers(2, 5)), 2)).astype(np.int32)
        cv2.polylines(picture, [points], False, colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    for _ in range(rng.integers(0, 12)):
        blot = rng.uniform((0, 0), (width, height)) + rng.normal(0, 0.02 * width, (5, 2))
        cv2.fillPoly(picture, [blot.astype(np.int32)], _vivid(rng).tolist(), cv2.LINE_AA)


def _vivid(rng: Generator) -> np.ndarray:
    """A saturated colour, for objects and clutter alike: colour does not tell the one from the other."""
    low, high = rng.uniform(0, 60), rng.uniform(180, 255)
    return rng.permutation([low, high, rng.uniform(low, high)])
