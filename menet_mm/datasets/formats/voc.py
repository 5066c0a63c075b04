"""PASCAL VOC: a list of picture ids and an XML file for each picture."""

import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from menet_mm.datasets.formats import class_names, existing
from menet_mm.errors import InputError

READERS = ('XMLDataset',)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the list and all its XML files can be read, and that one of the classes occurs in training data."""
    root, prefix = Path(dataset.get('data_root') or ''), dataset.get('data_prefix') or {}
    ann_file = existing(root / dataset.get('ann_file', ''), data_hint)
    # mmdet puts data_root before a prefix that is given, not before one that is left out.
    folder = root / prefix['sub_data_root'] if 'sub_data_root' in prefix else Path()
    try:
        ids = ann_file.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
        raise InputError(f'{ann_file} is no text: a list of picture ids, one a line, was expected') from None
    classes, found = class_names(dataset), Counter()
    for image_id in ids:
        found.update(_read_names(folder / dataset.get('ann_subdir', 'Annotations') / f'{image_id}.xml', classes))
    if classes and not dataset.get('test_mode') and not any(found[name] for name in classes):
        raise InputError(
            f'no object in {ann_file} is of the classes {", ".join(classes)}; it has {", ".join(sorted(found))}: '
            'set metainfo.classes to names that occur in the data'
        )


def _read_names(path: Path, classes: list[str]) -> list[str]:
    """Names of the objects in one file; every field that mmdet reads of an object of the classes must be valid."""
    names: list[str] = []
    try:
        root = ET.parse(path).getroot()
        for side in ('width', 'height') if root.find('size') is not None else ():
            int(root.find('size').find(side).text)
        for obj in root.findall('object'):
            names.append(str(obj.find('name').text))
            if not classes or names[-1] in classes:
                for side in ('xmin', 'ymin', 'xmax', 'ymax'):
                    int(float(obj.find('bndbox').find(side).text))
                int(obj.findtext('difficult', '0'))
    except FileNotFoundError:
        raise InputError(f'annotation {path} is missing; restore it or take its id out of the list') from None
    except (ET.ParseError, AttributeError, TypeError, ValueError, OverflowError, LookupError) as error:
        advice = 'repair it or take its id out of the list'
        raise InputError(f'annotation {path} is not valid VOC XML ({error}); {advice}') from None
    return names
