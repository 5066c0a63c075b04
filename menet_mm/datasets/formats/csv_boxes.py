"""CSV: a row for each box, with the picture, four numbers and the class; coordinates are pixels from 0, taken as they are."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

from menet_mm.datasets.formats.files import NAMES, Files, copy_pictures, read_text, sizes_of, split_by_folders, split_of
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.errors import InputError
from menet_mm.utils.files import write_text

#: What the columns may be called.
COLUMNS = dict(
    picture=('filename', 'file', 'file_name', 'image', 'path', 'image_path', 'img', 'image_id', 'name'),
    x1=('xmin', 'x1', 'x_min', 'left'),
    y1=('ymin', 'y1', 'y_min', 'top'),
    x2=('xmax', 'x2', 'x_max', 'right'),
    y2=('ymax', 'y2', 'y_max', 'bottom'),
    label=('class', 'label', 'class_name', 'category', 'classname'),
    width=('width', 'w', 'image_width'),
    height=('height', 'h', 'image_height'),
    split=('split', 'subset', 'set'),
    difficult=('difficult',),
)
NEEDED = ('picture', 'x1', 'y1', 'x2', 'y2', 'label')


def recognise(files: Files) -> bool:
    """Whether a CSV file has the columns of boxes."""
    return any(_rows(path) for path in files.ending('.csv'))


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a file by our names of the columns, with their line; empty if it is not of this format."""
    text = read_text(path)
    first = text.partition('\n')[0]
    delimiter = max(',;\t', key=first.count)
    rows = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    header = [word.strip().lower() for word in rows[0]] if rows else []
    places = {
        key: next((header.index(name) for name in names if name in header), None) for key, names in COLUMNS.items()
    }
    start = 1
    if len(header) == 6 and all(places[key] is None for key in NEEDED[1:5]):  # RetinaNet's, without a header
        numbers = header[1:5]
        if not all(word.replace('.', '', 1).lstrip('-').isdigit() for word in numbers if word):
            return []
        places, start = {**dict.fromkeys(COLUMNS), **dict(zip(NEEDED, range(6), strict=True))}, 0
    if any(places[key] is None for key in NEEDED):
        return []
    kept = [(number, row) for number, row in enumerate(rows[start:], start + 1) if any(word.strip() for word in row)]
    return [
        (number, {key: row[at].strip() if at is not None and at < len(row) else '' for key, at in places.items()})
        for number, row in kept
    ]


def read(files: Files) -> Labels:
    """Read all CSV files. The split is a column, or in the file's name; a row without numbers is a picture without objects."""
    labels, without = Labels(files.root), False
    for path in files.ending('.csv'):
        for number, row in _rows(path):
            where = f'{path}, line {number}'
            if not (found := files.find(row['picture'], path.parent)):
                labels.note('rows are of a picture that is not there, and are left out', f'{row["picture"]} in {where}')
                continue
            name = files.id_of(found)
            picture = labels.pictures.setdefault(name, Picture(found, _size(row), source=path))
            try:
                if any(row[side] for side in NEEDED[1:]):
                    picture.boxes.append(_box(row, where))
            except InputError as error:
                labels.errors.append(str(error))
            split = NAMES.get(row['split'].lower()) or split_of(path.stem)
            without |= split is None
            if split and name not in (known := labels.splits.setdefault(split, [])):
                known.append(name)
    labels.splits = {} if without else labels.splits
    labels.classes = sorted(labels.counts())
    split_by_folders(labels)
    return labels


def _size(row: dict[str, str]) -> tuple[int, int] | None:
    width, height = (int(row[side]) if row[side].isdigit() else 0 for side in ('width', 'height'))
    return (width, height) if min(width, height) > 0 else None


def _box(row: dict[str, str], where: str) -> Box:
    try:
        sides = [float(row[side]) for side in NEEDED[1:5]]
    except ValueError:
        sides = [math.nan]
    if not all(map(math.isfinite, sides)) or not row['label']:
        raise InputError(f'{where}: four numbers and a class were expected, not {list(row.values())[:6]}')
    return Box(row['label'], *sides, difficult=row['difficult'] in ('1', 'True', 'true'))


def write(labels: Labels, root: Path) -> None:
    """Write ``images`` and ``boxes.csv``, or with splits ``<split>.csv``. A crowd becomes difficult."""
    copy_pictures(labels, root / 'images')
    sizes = sizes_of(labels)
    for split, ids in (labels.splits or {'boxes': list(labels.pictures)}).items():
        text = io.StringIO()
        table = csv.writer(text, lineterminator='\n')
        table.writerow(['filename', 'width', 'height', 'class', 'xmin', 'ymin', 'xmax', 'ymax', 'difficult'])
        for name in ids:
            boxes = [(b.name, b.x1, b.y1, b.x2, b.y2, int(b.difficult or b.crowd)) for b in labels.pictures[name].boxes]
            table.writerows([f'images/{name}', *sizes[name], *box] for box in boxes or [('', '', '', '', '', 0)])
        write_text(root / f'{split}.csv', text.getvalue())
