"""YOLO: a text file for each picture, its boxes as parts of the sides, and ``data.yaml`` or a list of classes."""

from __future__ import annotations

import math
from pathlib import Path

import yaml

from menet_mm.datasets.formats.files import (
    NAMES,
    Files,
    add_lists,
    copy_pictures,
    read_header,
    read_text,
    sizes_of,
    split_by_folders,
)
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.errors import InputError
from menet_mm.utils.files import write_text

CLASS_LISTS = ('classes.txt', 'obj.names', 'names.txt', 'labels.txt', 'classes.names', 'predefined_classes.txt')
OTHERS = (*CLASS_LISTS, 'readme.txt', 'notes.txt', *(f'{name}.txt' for name in NAMES))


def recognise(files: Files) -> bool:
    """Whether there is a ``data.yaml`` with names, or the text file of a picture has rows of numbers."""
    if _settings(files):
        return True
    stems = {path.stem for path in files.pictures}
    for path in [path for path in files.ending('.txt') if path.stem in stems and path.name.lower() not in OTHERS][:20]:
        rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
        if rows and all(len(row) >= 5 and _is_number(word) for row in rows for word in row):
            return True
    return False


def _is_number(word: str) -> bool:
    return word.lstrip('-').replace('.', '', 1).replace('e-', '', 1).isdigit()


def _settings(files: Files) -> tuple[Path, dict] | None:
    """The YAML file that names classes, and its content."""
    for path in files.ending('.yaml', '.yml'):
        try:
            content = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, RecursionError):
            continue
        if isinstance(content, dict) and isinstance(content.get('names'), list | dict):
            return path, content
    return None


def _classes(files: Files) -> dict[int, str]:
    if found := _settings(files):
        names = found[1]['names']
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name).strip() for number, name in pairs}
    for path in files.ending('.txt', '.names'):
        if path.name.lower() in CLASS_LISTS:
            return dict(enumerate(line.strip() for line in read_text(path).splitlines() if line.strip()))
    return {}


def read(files: Files) -> Labels:
    """Read the text files. A picture's is beside it, or where ``labels`` stands for ``images`` in its path.

    A picture without one has no objects.
    """
    labels, texts = Labels(files.root), set(files.ending('.txt'))
    classes = _classes(files)
    for path in files.pictures:
        source = next((text for text in _text_files(path) if text in texts), None)
        picture = Picture(path, source=source)
        if source:
            try:
                picture.boxes = _boxes(source, path, classes, labels)
            except InputError as error:
                labels.errors.append(str(error))
        labels.pictures[files.id_of(path)] = picture
    # Without a list of names the numbers are the names.
    named = [classes[number] for number in sorted(classes)] or sorted(labels.counts(), key=int)
    labels.classes = list(dict.fromkeys(named))
    _add_splits(labels, files)
    return labels


def _text_files(picture: Path) -> list[Path]:
    parts = list(picture.with_suffix('.txt').parts)
    places = [i for i, part in enumerate(parts) if part.lower() == 'images']
    swapped = [
        Path(*parts[:i], parts[i].replace('images', 'labels').replace('Images', 'Labels'), *parts[i + 1 :])
        for i in reversed(places)
    ]
    return [*swapped, picture.with_suffix('.txt'), picture.parent.parent / 'labels' / f'{picture.stem}.txt']


def _boxes(text: Path, picture: Path, classes: dict[int, str], labels: Labels) -> list[Box]:
    header, boxes = read_header(picture), []
    if not header:
        raise InputError(f'picture {picture} cannot be read, and YOLO boxes need its size: replace it or take it out')
    for number, line in enumerate(read_text(text).splitlines(), 1):
        if not (words := line.split()):
            continue
        try:
            index, values = int(float(words[0])), [float(word) for word in words[1:]]
        except ValueError:
            index, values = -1, []
        where = f'{text}, line {number}'
        if len(values) < 4 or not all(map(math.isfinite, values)):
            raise InputError(
                f'{where}: a class number and four parts of the sides were expected, not {line.strip()[:60]!r}'
            )
        if (classes and index not in classes) or index < 0:
            raise InputError(
                f'{where}: class {words[0]} is none of the {len(classes)} that are named: correct the list of names'
            )
        x1, y1, x2, y2 = _corners(values)
        if max(map(abs, (x1, y1, x2, y2))) > 2:
            raise InputError(
                f'{where}: the box is no part of the sides (0 to 1) but has {values[0]:g}: export it again as YOLO'
            )
        width, height = header.shown
        # Files have six decimals or so, which is less than a thousandth of a pixel.
        box = [round(value, 3) for value in (x1 * width, y1 * height, x2 * width, y2 * height)]
        boxes.append(Box(classes.get(index, str(index)), *box))
        if len(values) == 5:
            labels.note('boxes have a score or another sixth column, which is ignored', where)
    return boxes


def _corners(values: list[float]) -> tuple[float, float, float, float]:
    """x1, y1, x2, y2 of centre and size, or around the outline that a segmentation has."""
    if len(values) >= 6 and len(values) % 2 == 0:
        return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    x, y, width, height = values[:4]
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _add_splits(labels: Labels, files: Files) -> None:
    """Take the splits of ``data.yaml``: folders, lists of folders, or lists of pictures; else by lists, else by folders."""
    path, content = _settings(files) or (files.root, {})
    base = [path.parent, files.root, *(files.root / str(content[key]) for key in ('path',) if content.get(key))]
    for given, split in NAMES.items():
        entries = content.get(given) or []
        for entry in [entries] if isinstance(entries, str) else entries:
            # Exporters write ../train/images for what lies beside the file.
            inside = str(entry).replace('\\', '/').lstrip('./')
            places = [folder / part for folder in base for part in (entry, inside)]
            found = next((place for place in places if place.exists()), None)
            if found is None:
                labels.note('splits of the YAML file are not there, and are left out', f'{given}: {entry} of {path}')
            elif found.suffix == '.txt':
                try:
                    labels.splits.setdefault(split, []).extend(labels.select(read_text(found).splitlines(), found))
                except InputError as error:
                    labels.errors.append(str(error))
            else:
                folder = found.resolve()
                ids = [name for name, picture in labels.pictures.items() if folder in picture.path.resolve().parents]
                labels.splits.setdefault(split, []).extend(ids)
    if not labels.splits:
        add_lists(labels, files)
    split_by_folders(labels)


def write(labels: Labels, root: Path) -> None:
    """Write ``images``, ``labels``, ``data.yaml`` and a list of pictures for each split. Difficult and crowd are lost."""
    copy_pictures(labels, root / 'images')
    for name, (width, height) in sizes_of(labels).items():
        rows = []
        for box in labels.pictures[name].boxes:
            values = (
                (box.x1 + box.x2) / 2 / width,
                (box.y1 + box.y2) / 2 / height,
                (box.x2 - box.x1) / width,
                (box.y2 - box.y1) / height,
            )
            rows.append(' '.join([str(labels.classes.index(box.name)), *(f'{value:.8f}' for value in values)]))
        write_text(root / 'labels' / Path(name).with_suffix('.txt'), '\n'.join(rows) + '\n' * bool(rows))
    content = {'path': '.', 'names': dict(enumerate(labels.classes))}
    for split, ids in labels.splits.items():
        write_text(root / f'{split}.txt', ''.join(f'./images/{name}\n' for name in ids))
        content[split] = f'{split}.txt'
    write_text(root / 'data.yaml', yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
