"""COCO: one JSON file for all pictures."""

import json
from collections import Counter
from math import isfinite
from pathlib import Path

from menet_mm.datasets.formats.files import read_header
from menet_mm.datasets.libraries import Notes, class_names, existing
from menet_mm.errors import InputError

READERS = ('CocoDataset', 'LVISV05Dataset', 'LVISV1Dataset', 'Objects365V1Dataset', 'Objects365V2Dataset')


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the file is there, has COCO's lists and knows the config's classes."""
    path = existing(dataset, dataset.get('ann_file', ''), data_hint)
    content = read(path, Notes())
    names = {category['name'] for category in content['categories']}
    if missing := [name for name in class_names(dataset) if name not in names]:
        known, advice = ', '.join(sorted(map(str, names))), 'set metainfo.classes to names that occur in the data'
        raise InputError(f'{path} has no category {", ".join(missing)}; it has {known}: {advice}')


def read(path: Path, notes: Notes, folder: str | None = None) -> dict:
    """Read a file so that mmdet's and pycocotools' readers take it; what is made up or left out goes into ``notes``.

    Sizes of pictures that the file does not give are read from those in ``folder``. Numbers of categories are kept.

    Raises:
        InputError: if it is no COCO JSON, or what is missing cannot be made up; with the key and the first id.
    """
    try:
        content = json.loads(path.read_bytes())
        # COCO's test pictures have no annotations.
        parts = {name: content[name] for name in ('images', 'categories')} | {
            'annotations': content.get('annotations', [])
        }
        if not all(isinstance(part, list) for part in parts.values()):
            raise TypeError('images and annotations must be lists')
        lists = {**content, **{name: list(map(dict, part)) for name, part in parts.items()}}
        _number_categories(path, lists, notes)
        _complete_images(path, lists['images'], notes, folder)
        _complete_annotations(path, lists, notes)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'{path} is not valid COCO JSON ({type(error).__name__}: {error}); export it again') from None
    return lists


def _number_categories(path: Path, content: dict, notes: Notes) -> None:
    """Leave out categories without objects whose name another one has."""
    used = {str(annotation.get('category_id')) for annotation in content['annotations']}
    names = Counter(category['name'] for category in content['categories'])
    for name in [name for name, number in names.items() if number > 1]:
        same = [category for category in content['categories'] if category['name'] == name]
        kept = [category for category in same if str(category['id']) in used] or same[:1]
        if len(kept) > 1:
            ids = ', '.join(str(category['id']) for category in kept)
            raise InputError(f'{path} has categories {ids} of one name, {name!r}, with objects: give each its own name')
        for category in same:
            if category is not kept[0]:
                notes.add('categories without objects have the name of another one and are left out', category)
                content['categories'].remove(category)


def _complete_images(path: Path, images: list[dict], notes: Notes, folder: str | None) -> None:
    seen = set()
    for image in images:
        if image['id'] in seen:
            raise InputError(f'{path} has two images of the id {image["id"]!r}: number them anew')
        seen.add(image['id'])
        if not isinstance(image.get('file_name'), str):
            raise InputError(f'{path}: image {image["id"]!r} has no file_name: export it again')
        if not all(_is_number(image.get(side)) and image[side] > 0 for side in ('width', 'height')):
            header = read_header(Path(folder, image['file_name'])) if folder is not None else None
            notes.add('images have no width and height, which are read from the pictures', image['file_name'])
            # A picture that cannot be read is named when all are decoded.
            image['width'], image['height'] = header.shown if header else (1, 1)


def _complete_annotations(path: Path, content: dict, notes: Notes) -> None:
    """Make up what can be, leave out what belongs to nothing, and number all anew if an id occurs twice."""
    images = {str(image['id']): image for image in content['images']}
    categories = {str(category['id']): category for category in content['categories']}
    kept, ids = [], set()
    for place, annotation in enumerate(content['annotations']):
        name = f'annotation {annotation.setdefault("id", f"number {place}")!r}'
        if annotation['id'] in ids:
            notes.add('annotations have the id of another one; all are numbered anew', name)
        ids.add(annotation['id'])
        image, category = (
            images.get(str(annotation.get('image_id'))),
            categories.get(str(annotation.get('category_id'))),
        )
        if image is None:
            notes.add('annotations belong to no image of the file and are left out', name)
        elif category is None:
            notes.add('annotations are of no category of the file and are left out', name)
        else:
            annotation.update(image_id=image['id'], category_id=category['id'])
            _complete_box(path, annotation, name, notes)
            if reason := _defect(annotation, image):
                notes.add(reason, f'{name}, {image["file_name"]}')
            kept.append(annotation)
    if len(ids) < len(content['annotations']) or not all(isinstance(number, int) for number in ids):
        for number, annotation in enumerate(kept, 1):
            annotation['id'] = number
    content['annotations'] = kept


def _complete_box(path: Path, annotation: dict, name: str, notes: Notes) -> None:
    box, mask = annotation.get('bbox'), annotation.get('segmentation')
    if not box and mask:
        box = _box_of(mask)
        notes.add('annotations have a mask alone; its box is taken', name)
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(map(_is_number, box)):
        raise InputError(
            f'{path}: {name} has no bbox of four numbers (x, y, width, height), but {box!r}: export it again'
        )
    annotation['bbox'] = list(box)
    for key, value in dict(area=box[2] * box[3], iscrowd=0).items():
        if not _is_number(annotation.get(key)):
            notes.add(
                f'annotations have no {key}, which is set to ' + ('width x height' if key == 'area' else '0'), name
            )
            annotation[key] = value


def _box_of(mask: list | dict) -> list[float]:
    """The box x, y, width, height of polygons or of a run-length code."""
    if isinstance(mask, dict):
        from pycocotools import mask as masks

        if isinstance(mask['counts'], list):
            mask = masks.frPyObjects(mask, *mask['size'])
        return masks.toBbox(mask).tolist()
    xs, ys = ([value for part in mask for value in part[start::2]] for start in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _defect(annotation: dict, image: dict) -> str | None:
    """Why mmdet leaves an annotation out, if it does."""
    x, y, w, h = annotation['bbox']
    if max(x + w, y + h) <= 1 and any(value % 1 for value in (x, y, w, h)):
        return 'boxes look like parts of the side, of 0 to 1, instead of pixels, and are left out'
    if w < 1 or h < 1 or annotation['area'] <= 0:
        return 'boxes have no area (a side of less than one pixel) and are left out'
    if x >= image['width'] or y >= image['height'] or x + w <= 0 or y + h <= 0:
        return 'boxes lie outside of their pictures and are left out'
    return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
