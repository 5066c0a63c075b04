"""The files of a labelled set: finding pictures by what annotations call them, reading text, names of splits."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from PIL import Image

from menet_mm.datasets.labels import Labels, Picture
from menet_mm.errors import InputError
from menet_mm.utils.pictures import FORMATS

#: Endings of pictures that OpenCV reads.
PICTURES = ('.jpg', '.jpeg', '.jpe', '.png', '.bmp', '.dib', '.webp', '.tif', '.tiff', '.ppm', '.pgm', '.pbm', '.jp2')
#: What people call the splits.
SPLITS = dict(
    train=('train', 'training', 'trn'),
    val=('val', 'valid', 'validation', 'dev'),
    test=('test', 'testing', 'tst'),
    trainval=('trainval',),
)
NAMES = {alias: split for split, aliases in SPLITS.items() for alias in aliases}
MAX_TEXT = 64 << 20  # bytes of one text file
ORIENTATION = 0x0112  # the tag of EXIF


class Header(NamedTuple):
    """What the header of a picture says: its size as it is stored, and EXIF's orientation, 1 to 8; 1 is upright."""

    width: int
    height: int
    turn: int

    @property
    def shown(self) -> tuple[int, int]:
        """(width, height) as viewers show it, and as OpenCV decodes it."""
        return (self.height, self.width) if self.turn >= 5 else (self.width, self.height)


def read_header(path: Path) -> Header | None:
    """Read the header alone of a picture; None if it cannot be read."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            # OpenCV turns these formats by EXIF and no others.
            turn = image.getexif().get(ORIENTATION, 1) if image.format in ('JPEG', 'MPO', 'PNG') else 1
            return Header(*image.size, turn if turn in range(1, 9) else 1)
    except Exception:  # a decoder may raise anything on a damaged file
        return None


def as_labelled(picture: Picture, header: Header) -> tuple[tuple[int, int], bool, str | None]:
    """Decide in which pixels a picture's boxes are.

    Returns (width, height) of the picture as it must be decoded, whether EXIF's orientation must be ignored for that, and a
    kind of note for :meth:`Labels.note` if the annotation does not tell, or tells of another size.
    """
    stored = header.width, header.height
    if header.turn == 1 or stored != header.shown:
        if picture.size in (header.shown, stored):
            return picture.size, picture.size != header.shown, None
        if header.turn == 1:
            differ = 'pictures have another size than their annotation says; that of the file is taken'
            return stored, False, differ if picture.size else None
    unsure = 'pictures are turned by EXIF and their annotation does not say whether the boxes are, too; taken as viewers show them'
    return header.shown, False, unsure


class Files:
    """All files below a folder, but hidden ones and what is in hidden folders; links to folders are followed once.

    Raises:
        InputError: if there is no such folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise InputError(f'no data set: {root} is no folder; give the folder that pictures and labels lie in')
        self.paths = sorted(_walk(root))
        self.pictures = [path for path in self.paths if path.suffix.lower() in PICTURES]
        self._by_name: dict[str, list[Path]] = {}
        for path in self.pictures:
            for name in {path.name.lower(), path.stem.lower()}:
                self._by_name.setdefault(name, []).append(path)

    def ending(self, *suffixes: str) -> list[Path]:
        """Files with one of these endings, in small letters."""
        return [path for path in self.paths if path.suffix.lower() in suffixes]

    def id_of(self, path: Path) -> str:
        """The id of a picture: its path from the root."""
        return path.relative_to(self.root).as_posix()

    def find(self, name: str, near: Path) -> Path | None:
        """Find the picture that an annotation in the folder ``near`` calls ``name``, with or without folders and ending.

        A path that fits is taken, else the file of this name that shares most of its path with the annotation, else one of
        this name with another ending. Paths may be Windows'; nothing outside the root is taken.
        """
        parts = [part for part in PureWindowsPath(name).parts if part not in ('..', '.')]
        if not parts:
            return None
        for start in range(len(parts)):
            for folder in (near, self.root, *near.parents):
                path = folder.joinpath(*parts[start:])
                if path in self._by_name.get(parts[-1].lower(), ()):
                    return path
        last = PureWindowsPath(parts[-1].lower())
        for key in (last.name, last.stem if last.suffix in (*PICTURES, '.xml', '.json') else last.name):
            if found := self._by_name.get(key):
                # A name with folders that fit none of several pictures says which one is meant, and that it is not there.
                return None if len(parts) > 1 and len(found) > 1 else max(found, key=lambda path: _shared(path, near))
        return None


def _walk(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith(('.', '__MACOSX')))
        if real not in seen:
            yield from (Path(folder, name) for name in names if not name.startswith('.'))
        seen.add(real)


def _shared(path: Path, folder: Path) -> tuple[int, int]:
    common = os.path.commonpath([path.parent, folder])
    return len(Path(common).parts), -len(path.parts)


def read_text(path: Path, encoding: str = 'utf-8-sig') -> str:
    """Read a text file, in UTF-8 or what its byte order mark says.

    Raises:
        InputError: if it is none, or too large for one.
    """
    if path.stat().st_size > MAX_TEXT:
        raise InputError(f'{path} has more than {MAX_TEXT >> 20} MB: a text file of labels was expected')
    data = path.read_bytes()
    if data.startswith((b'\xff\xfe', b'\xfe\xff')):
        encoding = 'utf-16'
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise InputError(f'{path} cannot be read as text ({error}): save it in UTF-8') from None


def split_of(text: str) -> str | None:
    """The split that the name of a file or folder speaks of, such as ``instances_val2017``, or None."""
    words = re.split(r'[^a-z]+', text.lower())
    return next((NAMES[word] for word in words if word in NAMES), None)


def split_by_folders(labels: Labels) -> None:
    """Give pictures to splits by the folder that they lie in, if every one lies in a folder called train, val or test."""
    found = {
        name: next((NAMES[p.lower()] for p in Path(name).parts[:-1] if p.lower() in NAMES), None)
        for name in labels.pictures
    }
    if not labels.splits and found and None not in found.values():
        for name, split in found.items():
            labels.splits.setdefault(split, []).append(name)


def add_lists(labels: Labels, files: Files) -> None:
    """Read the lists of ids that are called train.txt, val.txt, test.txt or trainval.txt, wherever they are."""
    for path in files.ending('.txt'):
        if split := NAMES.get(path.stem.lower()):
            try:
                lines = read_text(path).splitlines()
                ids = labels.select(lines, path)
            except InputError as error:
                labels.errors.append(str(error))
                continue
            if twice := len(ids) - len(set(ids)):
                labels.note(f'names stand twice in {path.name}, and are taken once', f'{twice} of {path}')
            known = labels.splits.setdefault(split, [])
            known += [name for name in dict.fromkeys(ids) if name not in known]


def sizes_of(labels: Labels) -> dict[str, tuple[int, int]]:
    """(width, height) by id as annotated, else as viewers show the picture; InputError if its header cannot be read."""
    sizes = {}
    for name, picture in labels.pictures.items():
        header = None if picture.size else read_header(picture.path)
        if not picture.size and not header:
            raise InputError(f'picture {picture.path} cannot be read: replace it or take it out')
        sizes[name] = picture.size or header.shown
    return sizes


def copy_pictures(labels: Labels, folder: Path) -> dict[str, Path]:
    """Copy the pictures into a folder, with the folders that are in their ids; returns the copies by id."""
    copies = {name: folder / name for name in labels.pictures}
    for name, path in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(labels.pictures[name].path, path)
    return copies
