"""Reading a whole labelled set for ``tools/check_data.py``: every annotation and every picture, whatever is wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from PIL import Image
from rich.progress import track

from menet_mm.datasets.doctor.start import find_class, is_remote, leaf_configs
from menet_mm.datasets.formats.files import PICTURES, Header, read_header, read_text
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.datasets.libraries import Notes, class_names, coco, folders, voc
from menet_mm.datasets.reading import read_labels
from menet_mm.errors import InputError
from menet_mm.utils.pictures import FORMATS, find_defect

THUMBNAIL = 16  # pixels a side


@dataclass
class Facts:
    """What a picture's file is like.

    Attributes:
        bytes: size of the file, or None if it is not there.
        header: size and rotation, or None if it cannot be read.
        kind: Pillow's name of its format, or None.
        defect: what is wrong, in a few words, or None.
        digest: of its bytes.
        thumbnail: (16, 16) grey values, or None.
    """

    bytes: int | None = None
    header: Header | None = None
    kind: str | None = None
    defect: str | None = None
    digest: bytes = b''
    thumbnail: np.ndarray | None = None


@dataclass
class Part:
    """One split: its pictures, and the file that lists them, if there is one."""

    labels: Labels
    source: Path
    listed: list[str] = field(default_factory=list)


@dataclass
class Exam:
    """What is known of a set before anything is judged.

    Attributes:
        parts: by split, such as train, val, test, or all.
        classes: in the order of the labels.
        facts: of each picture's file.
        input_size: (w, h) of what the network takes, if a config says.
        missed: number of boxes of train, and the share that no anchor finds, if a config is of an SSD.
    """

    parts: dict[str, Part]
    classes: list[str]
    facts: dict[Path, Facts] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    missed: tuple[int, float] | None = None

    def pictures(self) -> Iterator[tuple[str, str, Picture, Facts]]:
        """Yield split, id, picture and what its file is like."""
        for split, part in self.parts.items():
            for name, picture in part.labels.pictures.items():
                yield split, name, picture, self.facts.get(picture.path, Facts())


def read_folder(root: Path, format: str = 'auto') -> Exam:
    """Read a folder of one of the formats of ``reading.FORMATS``; ``InputError`` if it is of none."""
    labels, _ = read_labels(root, format)
    if not labels.pictures and labels.errors:
        raise InputError(labels.errors[0])
    parts, rest = {}, (labels.errors, labels.notes)
    splits = dict(labels.splits) or {'all': list(labels.pictures)}
    if 'train' in splits:
        splits.pop('trainval', None)  # these and those of val
    for split, ids in splits.items():
        known = {name: labels.pictures[name] for name in ids if name in labels.pictures}
        # What was met while reading belongs to no split: it is said once.
        parts[split] = Part(Labels(root, labels.classes, known, {}, *rest), root, list(ids))
        rest = ([], {})
    return Exam(parts, labels.classes)


def read_config_data(cfg: Config) -> Exam:
    """Read the data sets of a config; those of other readers than ours are left out with a note."""
    parts, classes = {}, []
    for split in ('train', 'val', 'test'):
        loader = cfg.get(f'{split}_dataloader') or {}
        for number, leaf in enumerate(leaf_configs(loader.get('dataset') or {})):
            part = _read_leaf(leaf, cfg.get('data_hint'))
            if any(part.source == other.source and part.listed == other.listed for other in parts.values()):
                continue  # test is often the same as val
            classes = classes or class_names(leaf) or list(part.labels.classes)
            parts[f'{split} {number + 1}' if number else split] = part
    if not parts:
        raise InputError(f'{cfg.filename} has no data sets of this machine that can be checked')
    steps = cfg.train_dataloader.dataset.get('pipeline', ()) if cfg.get('train_dataloader') else ()
    scales = [step['scale'] for step in steps if step.get('type') == 'Resize' and 'scale' in step]
    size = scales[0] if scales else None
    return Exam(parts, classes, input_size=(size, size) if isinstance(size, int) else size and tuple(size))


def _read_leaf(leaf: dict, data_hint: str | None) -> Part:
    kind = find_class(leaf)
    names = {parent.__name__ for parent in getattr(kind, '__mro__', ())}
    root, listed = Path(leaf.get('data_root') or ''), leaf.get('ann_file') or ''
    reader = next((read for name, read in READERS.items() if name in names), None)
    if reader is None or is_remote(leaf):
        raise InputError(
            f'{leaf.get("type")} is read in a way that is not known here: give the folder of the data instead'
        )
    if listed and not (root / listed).is_file():
        raise InputError(f'no data set: {root / listed} does not exist; {data_hint or "get it"}, or set data_root')
    part = reader(leaf, root, root / listed)
    part.labels.classes = (
        class_names(leaf) or list(getattr(kind, 'METAINFO', {}).get('classes', ())) or part.labels.classes
    )
    return part


def _read_voc(leaf: dict, root: Path, source: Path) -> Part:
    folder, notes, labels = voc.annotation_folder(leaf), Notes(), Labels(root)
    pictures = folder.parent / leaf.get('img_subdir', 'JPEGImages')
    files = {p.stem: p for p in sorted(pictures.iterdir()) if p.suffix.lower() in PICTURES} if pictures.is_dir() else {}
    lines = voc.read_list(source, folder, notes)
    for name, path, number in lines:
        picture = Picture(files.get(Path(name).name, pictures / f'{name}.jpg'), source=path)
        if not path.is_file():
            labels.errors.append(f'annotation {path} is missing ({source}, line {number}: {name!r})')
            continue
        try:
            found = voc.read_annotation(path)
        except InputError as error:
            labels.errors.append(str(error))
            continue
        picture.size = found.size
        picture.boxes = [Box(kind, *(int(v) - 1 for v in box), difficult=hard) for kind, box, hard in found.objects]
        labels.pictures[name] = picture
        for written in found.names:
            if written != written.strip():
                labels.note('names of classes have blanks around them, which are ignored', f'{written!r} in {path}')
    for kind, number in notes.counts.items():
        labels.notes[kind] = [notes.first[kind]] * number
    return Part(labels, source, [name for name, *_ in lines])


def _read_coco(leaf: dict, root: Path, source: Path) -> Part:
    prefix = Path(root, (leaf.get('data_prefix') or {}).get('img', ''))
    labels, notes = Labels(root), Notes()
    try:
        content = coco.read(source, notes, str(prefix))
    except InputError as error:
        labels.errors.append(str(error))
        return Part(labels, source)
    names = {category['id']: category['name'] for category in content['categories']}
    by_id = {}
    for image in content['images']:
        size = (image['width'], image['height'])
        by_id[image['id']] = labels.pictures[str(image['id'])] = Picture(
            prefix / image['file_name'], size, source=source
        )
    for annotation in content['annotations']:
        x, y, w, h = annotation['bbox']
        box = Box(names[annotation['category_id']], x, y, x + w, y + h, crowd=bool(annotation['iscrowd']))
        by_id[annotation['image_id']].boxes.append(box)
    labels.classes = list(names.values())
    for kind, number in notes.counts.items():
        labels.notes[kind] = [notes.first[kind]] * number
    return Part(labels, source, list(labels.pictures))


def _read_boxes(leaf: dict, root: Path, source: Path) -> Part:
    labels, _ = read_labels(root, leaf.get('format', 'auto'), leaf.get('rename'))
    ids = list(labels.pictures)
    if leaf.get('ann_file'):
        try:
            ids = labels.select(read_text(source).splitlines(), source)
        except InputError as error:
            labels.errors.append(str(error))
    labels.pictures = {name: labels.pictures[name] for name in ids}
    return Part(labels, source, ids)


def _read_classes(leaf: dict, root: Path, source: Path) -> Part:
    prefix = leaf.get('data_prefix') or ''
    pictures = Path(root, prefix if isinstance(prefix, str) else prefix.get('img_path', '')).expanduser()
    labels, classes = Labels(root), class_names(leaf)
    try:
        if leaf.get('ann_file'):
            pairs = folders.read_list(source, classes or None)
            classes = classes or [str(label) for label in range(max(label for _, label in pairs) + 1)]
        else:
            names = folders.class_folders(pictures)
            folders.check_names(pictures, names, classes or None)
            classes, source = classes or names, pictures
            found = [(label, path) for label, name in enumerate(names) for path in sorted((pictures / name).rglob('*'))]
            kept = [(path.relative_to(pictures), label) for label, path in found if path.suffix.lower() in PICTURES]
            pairs = [(str(path), label) for path, label in kept if not any(p.startswith('.') for p in path.parts)]
    except (InputError, OSError) as error:
        labels.errors.append(str(error))
        pairs = []
    labels.classes = classes
    labels.pictures = {name: Picture(pictures / name, label=classes[label]) for name, label in pairs}
    return Part(labels, source, [name for name, _ in pairs])


#: By the name of the class that reads a data set, or that it inherits from.
READERS = dict(XMLDataset=_read_voc, CocoDataset=_read_coco, BoxDataset=_read_boxes, CustomDataset=_read_classes)


def read_pictures(exam: Exam) -> None:
    """Read all picture files to their ends, on all processors, with progress."""
    paths = sorted({picture.path for _, _, picture, _ in exam.pictures()})
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        found = track(pool.map(look_at, paths), 'Reading pictures', len(paths), disable=len(paths) < 200)
        exam.facts = dict(zip(paths, found, strict=True))


def look_at(path: Path) -> Facts:
    """Read a picture file."""
    if not path.is_file():
        return Facts()
    facts = Facts(path.stat().st_size, read_header(path), defect=find_defect(str(path)))
    if facts.bytes and facts.header:
        with Image.open(path, formats=FORMATS) as image:
            facts.kind = image.format
        with path.open('rb') as file:
            facts.digest = hashlib.sha1(file.read()).digest()
    if not facts.defect:
        grey = cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if grey is not None:
            facts.thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return facts
