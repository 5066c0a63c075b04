"""COCO JSON as tools export it: one file for all pictures, or one for each split."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from menet_mm.datasets.formats.files import Files, copy_pictures, sizes_of, split_by_folders, split_of
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.errors import InputError
from menet_mm.utils.files import write_text

BROKEN = (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError)


def recognise(files: Files) -> bool:
    """Whether a JSON file has COCO's lists."""
    return any(
        b'"categories"' in (data := path.read_bytes()) and b'"images"' in data for path in files.ending('.json')[:50]
    )


def read(files: Files) -> Labels:
    """Read all JSON files. A file of a split has its name, or lies in a folder of its name."""
    labels, used, lists = Labels(files.root), set(), {}
    for path in files.ending('.json'):
        try:
            content = json.loads(path.read_bytes())
            if isinstance(content, dict) and {'images', 'categories'} <= content.keys():
                names = {str(category['id']): str(category['name']).strip() for category in content['categories']}
                labels.classes += [name for name in dict.fromkeys(names.values()) if name not in labels.classes]
                pictures = _read_pictures(content, path, files, labels)
                used |= _read_boxes(content, path, pictures, names, labels)
                split = split_of(path.stem) or split_of(path.parent.name)
                known = lists.setdefault(split, [])
                known += [name for name, _ in pictures.values() if name not in set(known)]
        except BROKEN as error:
            reason = f'{type(error).__name__}: {error}'
            labels.errors.append(
                str(error)
                if isinstance(error, InputError)
                else f'{path} is not valid COCO JSON ({reason}); export it again'
            )
    for name in [name for name in labels.classes if name not in used]:
        labels.note('categories have no object, and are left out', name)
    labels.classes = [name for name in labels.classes if name in used]
    if None not in lists:
        labels.splits = lists
    split_by_folders(labels)
    return labels


def _read_pictures(content: dict, path: Path, files: Files, labels: Labels) -> dict[str, tuple[str, bool]]:
    """Add a file's pictures; returns by their number in it the id, and whether the boxes are to be taken from here."""
    found = {}
    for entry in content['images']:
        picture = files.find(str(entry['file_name']), path.parent)
        if picture is None:
            labels.note('pictures are not there, and are left out', f'{entry["file_name"]} of {path}')
            continue
        name, size = files.id_of(picture), tuple(int(entry.get(side) or 0) for side in ('width', 'height'))
        if str(entry['id']) in found:
            raise InputError(f'{path} has two pictures of the id {entry["id"]!r}: export it again')
        found[str(entry['id'])] = name, name not in labels.pictures
        if name in labels.pictures:
            labels.note('pictures stand in two lists, and their first boxes are taken', f'{name} of {path}')
        else:
            labels.pictures[name] = Picture(picture, size if min(size) > 0 else None, source=path)
    return found


def _read_boxes(content: dict, path: Path, pictures: dict, names: dict[str, str], labels: Labels) -> set[str]:
    """Add the boxes of a file; returns the classes that occur."""
    used, known = set(), {str(entry['id']) for entry in content['images']}
    for entry in content.get('annotations') or []:
        where, number = f'id {entry.get("id")} of {path}', str(entry['image_id'])
        if str(entry.get('category_id')) not in names or number not in known:
            labels.note('annotations are of no picture or category, and are left out', where)
            continue
        if not (box := _box(entry, where)):
            labels.note('annotations have neither box nor mask, and are left out', where)
            continue
        name = names[str(entry['category_id'])]
        used.add(name)
        if pictures.get(number, (None, False))[1]:
            crowd = bool(entry.get('iscrowd')) or bool(entry.get('ignore'))
            labels.pictures[pictures[number][0]].boxes.append(Box(name, *box, crowd=crowd))
    return used


def _box(entry: dict[str, Any], where: str) -> tuple[float, ...] | None:
    """x1, y1, x2, y2: of the box, else of the mask."""
    mask = entry.get('segmentation')
    if entry.get('bbox'):
        x, y, width, height = map(float, entry['bbox'])
        box = x, y, x + width, y + height
    elif isinstance(mask, list) and mask:
        points = [float(value) for part in (mask if isinstance(mask[0], list) else [mask]) for value in part]
        box = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
    elif isinstance(mask, dict):
        from pycocotools import mask as masks

        height, width = mask['size']
        coded = masks.frPyObjects(mask, height, width) if isinstance(mask['counts'], list) else mask
        x, y, width, height = masks.toBbox(coded).tolist()
        box = x, y, x + width, y + height
    else:
        return None
    if not all(map(math.isfinite, box)):
        raise InputError(f'annotation {where} has a box that is no four numbers: export it again')
    return box


def write(labels: Labels, root: Path) -> None:
    """Write ``images`` and ``annotations/<split>.json``; without splits, ``annotations/all.json``. Difficult becomes crowd."""
    copy_pictures(labels, root / 'images')
    sizes = sizes_of(labels)
    categories = [dict(id=number, name=name) for number, name in enumerate(labels.classes, 1)]
    for split, ids in (labels.splits or {'all': list(labels.pictures)}).items():
        content = dict(images=[], annotations=[], categories=categories)
        for number, name in enumerate(ids, 1):
            content['images'].append(dict(id=number, file_name=name, width=sizes[name][0], height=sizes[name][1]))
            for box in labels.pictures[name].boxes:
                width, height = box.x2 - box.x1, box.y2 - box.y1
                content['annotations'].append(
                    dict(
                        id=len(content['annotations']) + 1,
                        image_id=number,
                        category_id=labels.classes.index(box.name) + 1,
                        bbox=[box.x1, box.y1, width, height],
                        area=width * height,
                        iscrowd=int(box.crowd or box.difficult),
                    )
                )
        write_text(root / f'annotations/{split}.json', json.dumps(content))
