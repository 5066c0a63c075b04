"""LabelMe: a JSON file for each picture; https://github.com/wkentaro/labelme."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

from menet_mm.datasets.formats.files import Files, sizes_of, split_by_folders
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.utils.files import write_text

BROKEN = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)


def recognise(files: Files) -> bool:
    """Whether one of the first JSON files has LabelMe's shapes."""
    return any(
        b'"shapes"' in (data := path.read_bytes()) and b'"imagePath"' in data for path in files.ending('.json')[:20]
    )


def read(files: Files) -> Labels:
    """Read all JSON files: rectangles, and the box around polygons and circles."""
    labels = Labels(files.root)
    for path in files.ending('.json'):
        try:
            content = json.loads(path.read_bytes())
            if not isinstance(content, dict) or 'shapes' not in content:
                continue
            found = files.find(str(content.get('imagePath') or ''), path.parent) or files.find(
                path.with_suffix('.json').name, path.parent
            )
            if not found:
                labels.note('annotations have no picture, and are left out', path)
                continue
            if files.id_of(found) in labels.pictures:
                labels.note('annotations are of a picture that has one already, and are left out', path)
                continue
            size = tuple(int(content.get(key) or 0) for key in ('imageWidth', 'imageHeight'))
            boxes = [box for shape in content['shapes'] if (box := _box(shape, path, labels))]
            labels.pictures[files.id_of(found)] = Picture(found, size if min(size) > 0 else None, boxes, source=path)
        except BROKEN as error:
            labels.errors.append(f'{path} is not valid LabelMe JSON ({type(error).__name__}: {error}); save it again')
    for path in files.pictures:
        if files.id_of(path) not in labels.pictures:
            labels.note('pictures have no annotation, and are left out', path)
    labels.classes = sorted(labels.counts())
    split_by_folders(labels)
    return labels


def _box(shape: dict, path: Path, labels: Labels) -> Box | None:
    kind, points = shape.get('shape_type') or 'polygon', [[float(x), float(y)] for x, y in shape['points']]
    if kind == 'circle' and len(points) == 2:  # its centre, and a point of the edge
        (x, y), radius = points[0], math.dist(*points)
        points = [[x - radius, y - radius], [x + radius, y + radius]]
    if kind not in ('rectangle', 'polygon', 'circle', 'mask', 'oriented_rectangle') or len(points) < 2:
        labels.note(f'shapes are a {kind}, which has no box, and are left out', path)
        return None
    if not all(math.isfinite(value) for point in points for value in point):
        raise ValueError('a point that is no two numbers')
    xs, ys = zip(*points, strict=True)
    difficult = bool((shape.get('flags') or {}).get('difficult'))
    return Box(str(shape['label']).strip(), min(xs), min(ys), max(xs), max(ys), difficult)


def write(labels: Labels, root: Path) -> None:
    """Write a JSON file beside a copy of each picture, in a folder for each split; a picture of two splits goes to the first."""
    place = {name: split for split, ids in reversed(labels.splits.items()) for name in ids}
    for name, (width, height) in sizes_of(labels).items():
        path = root / place.get(name, '') / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(labels.pictures[name].path, path)
        shapes = [
            dict(
                label=box.name,
                points=[[box.x1, box.y1], [box.x2, box.y2]],
                group_id=None,
                shape_type='rectangle',
                flags=dict(difficult=True) if box.difficult or box.crowd else {},
            )
            for box in labels.pictures[name].boxes
        ]
        content = dict(version='5.0.1', flags={}, shapes=shapes, imagePath=path.name, imageData=None)
        write_text(path.with_suffix('.json'), json.dumps(dict(content, imageHeight=height, imageWidth=width)))
