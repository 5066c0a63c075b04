"""Pascal VOC as labelling tools write it: an XML file for each picture, lists of names, folders called anything."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from menet_mm.datasets.formats.files import Files, add_lists, copy_pictures, read_text, sizes_of, split_by_folders
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.errors import InputError
from menet_mm.utils.files import write_text

DECLARED = re.compile(rb'^\s*(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?encoding\s*=\s*["\']([\w.:-]+)')
#: Python's decoder that reads more than the declared one, for what tools write under that name.
WIDER = {'gb2312': 'gb18030', 'gbk': 'gb18030', 'ascii': 'utf-8-sig', 'us-ascii': 'utf-8-sig', 'utf-8': 'utf-8-sig'}
SIDES = ('xmin', 'ymin', 'xmax', 'ymax')


def recognise(files: Files) -> bool:
    """Whether one of the first XML files is of this format."""
    return any(b'<annotation' in path.read_bytes()[:2000] for path in files.ending('.xml')[:20])


def read(files: Files) -> Labels:
    """Read all XML files. The picture is the one of the XML's own name, else what ``<filename>`` says."""
    labels = Labels(files.root)
    for path in files.ending('.xml'):
        try:
            root = parse(path)
            if root.tag != 'annotation':
                continue
            found = files.find(f'{path.stem}.xml', path.parent) or files.find(
                root.findtext('filename') or '', path.parent
            )
            if not found:
                labels.note('annotations have no picture, and are left out', path)
                continue
            if files.id_of(found) in labels.pictures:
                labels.note('annotations are of a picture that has one already, and are left out', path)
                continue
            labels.pictures[files.id_of(found)] = Picture(found, _size(root), _boxes(root, path, labels), source=path)
        except InputError as error:
            labels.errors.append(str(error))
    for path in files.pictures:
        if files.id_of(path) not in labels.pictures:
            labels.note('pictures have no annotation, and are left out', path)
    labels.classes = sorted(labels.counts())
    add_lists(labels, files)
    split_by_folders(labels)
    return labels


def parse(path: Path) -> ET.Element:
    """Parse an XML file in its declared encoding, also in those that Python's parser does not know, such as gb2312.

    Raises:
        InputError: if it is not valid, or declares entities, which a file of labels has no use for and an attack has.
    """
    with path.open('rb') as file:
        declared = DECLARED.match(file.read(300))
    name = declared[1].decode().lower() if declared else 'utf-8'
    text = read_text(path, WIDER.get(name, name))
    if '<!ENTITY' in text:
        raise InputError(f'annotation {path} declares entities, which are not read: write it again without')
    try:
        return ET.fromstring(re.sub(r'^\s*<\?xml.*?\?>', '', text.lstrip('\ufeff'), count=1, flags=re.DOTALL).strip())
    except ET.ParseError as error:
        raise InputError(f'annotation {path} is not valid XML ({error}): repair it or take it out') from None


def _size(root: ET.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(float(root.findtext(f'size/{side}') or 0)) for side in ('width', 'height'))
    except (ValueError, OverflowError):
        return None
    return (width, height) if min(width, height) > 0 else None


def _boxes(root: ET.Element, path: Path, labels: Labels) -> list[Box]:
    boxes = []
    for obj in root.findall('object'):
        name, found = obj.findtext('name') or '', obj.find('bndbox')
        if found is None or not name.strip():
            labels.note(f'objects have no {"box" if found is None else "name"}, and are left out', path)
            continue
        if name != name.strip():
            labels.note('names of classes have blanks around them, which are ignored', path)
        try:
            # Whole numbers from 1, as in mmdet's XMLDataset.
            sides = [int(float(found.findtext(side) or '')) - 1 for side in SIDES]
            difficult = bool(int(obj.findtext('difficult') or 0))
        except (ValueError, OverflowError) as error:
            raise InputError(f'annotation {path} has a box that is no four numbers ({error}): repair it') from None
        boxes.append(Box(name.strip(), *sides, difficult=difficult))
    return boxes


def write(labels: Labels, root: Path) -> None:
    """Write ``JPEGImages``, ``Annotations`` and ``ImageSets/Main``. Coordinates are rounded; a crowd becomes difficult."""
    copy_pictures(labels, root / 'JPEGImages')
    for name, size in sizes_of(labels).items():
        tree = ET.Element('annotation')
        ET.SubElement(tree, 'filename').text = Path(name).name
        place = ET.SubElement(tree, 'size')
        for side, value in zip(('width', 'height', 'depth'), (*size, 3), strict=True):
            ET.SubElement(place, side).text = str(value)
        for box in labels.pictures[name].boxes:
            obj = ET.SubElement(tree, 'object')
            ET.SubElement(obj, 'name').text = box.name
            ET.SubElement(obj, 'difficult').text = str(int(box.difficult or box.crowd))
            corners = ET.SubElement(obj, 'bndbox')
            for side, value in zip(SIDES, (box.x1, box.y1, box.x2, box.y2), strict=True):
                ET.SubElement(corners, side).text = str(round(value) + 1)
        ET.indent(tree)
        write_text(root / 'Annotations' / Path(name).with_suffix('.xml'), ET.tostring(tree, encoding='unicode'))
    for split, ids in labels.splits.items():
        lines = [str(Path(name).with_suffix('')) for name in ids]
        write_text(root / f'ImageSets/Main/{split}.txt', '\n'.join(lines) + '\n')
