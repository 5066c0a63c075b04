"""PASCAL VOC: a list of picture ids and an XML file for each picture."""

import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from menet_mm.datasets.formats import pascal_voc
from menet_mm.datasets.formats.files import PICTURES
from menet_mm.datasets.libraries import Notes, class_names, existing, read_lines
from menet_mm.errors import InputError

READERS = ('XMLDataset',)


@dataclass
class Annotation:
    """One XML file.

    Attributes:
        size: (w, h), or None if it gives none; whatever it says, also zero.
        names: of all objects, as they are written.
        objects: name without blanks around it, (x1, y1, x2, y2) as numbers in the file, and whether it is difficult.
        root: the file's element, where names have no blanks around them.
    """

    root: ET.Element
    size: tuple[int, int] | None
    names: list[str] = field(default_factory=list)
    objects: list[tuple[str, tuple[float, ...], bool]] = field(default_factory=list)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the list and all its XML files can be read, and that one of the classes occurs in training data."""
    ann_file, folder = existing(dataset, dataset.get('ann_file', ''), data_hint), annotation_folder(dataset)
    classes = class_names(dataset)
    found = set()
    for _, path, _ in read_ids(ann_file, folder):
        found |= {name.strip() for name in read_annotation(path, classes).names}
    if classes and not dataset.get('test_mode') and not found.intersection(classes):
        known, advice = ', '.join(sorted(found)), 'set metainfo.classes to names that occur in the data'
        raise InputError(f'no object in {ann_file} is of the classes {", ".join(classes)}; it has {known}: {advice}')


def annotation_folder(dataset: dict) -> Path:
    """The folder of XML files of a data set's config."""
    # mmdet puts data_root before a prefix that is given, not before one that is left out.
    prefix = dataset.get('data_prefix') or {}
    root = Path(dataset.get('data_root') or '', prefix['sub_data_root']) if 'sub_data_root' in prefix else Path()
    return root / dataset.get('ann_subdir', 'Annotations')


def read_list(ann_file: Path, folder: Path, notes: Notes | None = None) -> list[tuple[str, Path, int]]:
    """Read the id, the XML file and the number of the line of each picture in a list; an XML file may be missing.

    A line may have an ending such as ``.jpg``, a folder before the name, or a second column: the id is what has an XML file.

    Raises:
        InputError: if the list is empty, or no text.
    """
    lines, found = read_lines(ann_file), []
    if not lines:
        raise InputError(f'{ann_file} is empty: a list of picture ids, one a line, was expected')
    for number, line in lines:
        name = next((name for name in _meant(line) if (folder / f'{name}.xml').is_file()), line)
        if name != line and notes:
            notes.add('lines have more than the id, which is taken', f'line {number}, {line!r}')
        found.append((name, folder / f'{name}.xml', number))
    return found


def read_ids(ann_file: Path, folder: Path, notes: Notes | None = None) -> Iterator[tuple[str, Path, int]]:
    """Yield what :func:`read_list` finds.

    Raises:
        InputError: naming file, line and id, if there is no XML file.
    """
    for name, path, number in read_list(ann_file, folder, notes):
        if not path.is_file():
            raise InputError(
                f'annotation {path} is missing ({ann_file}, line {number}: {name!r}); '
                'restore it or take its id out of the list'
            )
        yield name, path, number


def _meant(line: str) -> Iterator[str]:
    """What a line of a list may mean, the plainest first."""
    for text in dict.fromkeys([line, line.split(',')[0].strip(), line.rsplit(maxsplit=1)[0], line.split()[0]]):
        for name in dict.fromkeys([text, text.replace('\\', '/').rpartition('/')[2]]):
            yield name
            stem, dot, ending = name.rpartition('.')
            if f'{dot}{ending}'.lower() in (*PICTURES, '.xml'):
                yield stem


def parse(path: Path) -> ET.Element:
    """Parse an XML file as :func:`pascal_voc.parse` does; ``InputError`` names it."""
    try:
        return pascal_voc.parse(path)
    except InputError as error:
        reason = str(error).removeprefix('annotation ').removeprefix(f'{path} ')
        raise InputError(f'annotation {path} is not valid VOC XML: it {reason}') from None


def read_annotation(path: Path, classes: Collection[str] = ()) -> Annotation:
    """Read an XML file; of the classes, or of all if none are given, every field that counts must be valid.

    Raises:
        InputError: naming the file.
    """
    root = parse(path)
    try:
        size = root.find('size')
        if size is not None:
            size = tuple(int(float(size.find(side).text)) for side in ('width', 'height'))
        found = Annotation(root, size)
        for item in root.findall('object'):
            written = str(item.find('name').text)
            name = item.find('name').text = written.strip()
            found.names.append(written)
            if not classes or name in classes:
                box = tuple(float(item.find(f'bndbox/{side}').text) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
                _ = [int(value) for value in box]  # neither infinite nor no number
                found.objects.append((name, box, bool(int(item.findtext('difficult', '0')))))
        return found
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        advice = 'repair it or take its id out of the list'
        raise InputError(f'annotation {path} is not valid VOC XML ({error}); {advice}') from None
