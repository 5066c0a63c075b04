"""One description of a labelled set of pictures, whatever the files look like that it was read from.

Readers and writers of it are in ``formats/``, one file a format; :class:`~menet_mm.datasets.boxes.BoxDataset` trains on it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from menet_mm.errors import InputError


@dataclass
class Box:
    """An object in a picture.

    Coordinates are pixels from the picture's upper left corner, which is (0, 0); the width is ``x2 - x1``. COCO's and YOLO's
    boxes mean the same. Of VOC's whole numbers, which count from 1, each is one less here, as mmdet's ``XMLDataset`` reads
    them: ``xmin=1, xmax=100`` is ``x1=0, x2=99``. Values are those of the file: ``x2`` may be less than ``x1``, or outside.

    Attributes:
        name: its class.
        x1, y1, x2, y2: left, upper, right and lower edge.
        difficult: VOC's mark; neither trained on nor counted in a test.
        crowd: COCO's mark of a box around many objects; treated likewise.
    """

    name: str
    x1: float
    y1: float
    x2: float
    y2: float
    difficult: bool = False
    crowd: bool = False


@dataclass
class Picture:
    """A picture and what is in it.

    Attributes:
        path: its file.
        size: (width, height) in pixels as the annotation says, or None if it does not.
        boxes: the objects, in the order of the file.
        label: its class, in a set for classification.
        source: the file with its annotation, for messages; None if it has none.
    """

    path: Path
    size: tuple[int, int] | None = None
    boxes: list[Box] = field(default_factory=list)
    label: str | None = None
    source: Path | None = None


@dataclass
class Labels:
    """A labelled set of pictures.

    Attributes:
        root: its folder.
        classes: names in the order of the labels 0, 1, ...: the file's own order, or sorted where files have none.
        pictures: by id, which is the path from ``root`` with forward slashes and ending, such as ``images/a/0001.jpg``.
        splits: ids by the name of the split, such as train, val, test; empty if the files name none.
        errors: a sentence for each annotation that cannot be used.
        notes: what was left out or changed, by kind; for each case where it was.
    """

    root: Path
    classes: list[str] = field(default_factory=list)
    pictures: dict[str, Picture] = field(default_factory=dict)
    splits: dict[str, list[str]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, where: object) -> None:
        """Remember one thing that is left out or changed; ``kind`` is a sentence: 'boxes have no area, and are left out'."""
        self.notes.setdefault(kind, []).append(str(where))

    def rename(self, names: Mapping[str, str]) -> None:
        """Give classes other names, of which several may become one.

        Raises:
            InputError: if there is no class of a name.
        """
        for name in names:
            if name not in self.classes:
                raise InputError(f'no class {name!r} to rename: give one that there is, of {", ".join(self.classes)}')
        for picture in self.pictures.values():
            picture.label = names.get(picture.label, picture.label)
            for box in picture.boxes:
                box.name = names.get(box.name, box.name)
        self.classes = list(dict.fromkeys(names.get(name, name) for name in self.classes))

    def said(self) -> list[str]:
        """One line for each kind of note: kind, number, the first case."""
        return [f'{kind}: {len(where)} (the first: {where[0]})' for kind, where in self.notes.items()]

    def counts(self, ids: Iterable[str] | None = None) -> Counter:
        """Count objects by class, or pictures by class in a set for classification; of ``ids`` alone if given."""
        chosen = self.pictures.values() if ids is None else [self.pictures[name] for name in ids]
        found = Counter(box.name for picture in chosen for box in picture.boxes)
        return found + Counter(picture.label for picture in chosen if picture.label is not None)

    def check(self) -> Labels:
        """Return the set; raise ``InputError`` if an annotation cannot be used, or there are no pictures or classes."""
        if self.errors:
            more = f' ({len(self.errors) - 1} more such files)' if len(self.errors) > 1 else ''
            raise InputError(f'{self.errors[0]}{more}')
        if not self.pictures:
            raise InputError(f'{self.root} has no labelled pictures that can be found: look at the names in its files')
        if not self.classes:
            raise InputError(f'{self.root} has pictures but no labelled object: look at its annotation files')
        return self

    def select(self, lines: Iterable[str], source: object) -> list[str]:
        """Turn the lines of a list into ids: full ids, paths, or names with or without ending; a second column is left out.

        Raises:
            InputError: naming ``source`` and the line if a name is of no picture, or of several.
        """
        by_name: dict[str, list[str]] = {}
        for name in self.pictures:
            for short in {str(Path(name).with_suffix('')), Path(name).name, Path(name).stem}:
                by_name.setdefault(short, []).append(name)
        chosen = []
        for number, line in enumerate(lines, 1):
            if text := line.lstrip('\ufeff').strip().replace('\\', '/'):
                chosen.append(self._find(text, by_name, f'{source}, line {number}'))
        return chosen

    def _find(self, text: str, by_name: dict[str, list[str]], where: str) -> str:
        # A name may have blanks in it, so the whole line comes first.
        for name in dict.fromkeys([text, text.rsplit(maxsplit=1)[0], text.split(maxsplit=1)[0]]):
            path = Path(name.removeprefix('./'))
            inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
            for key in (inside.as_posix(), str(inside.with_suffix('')), inside.name, inside.stem):
                found = [key] if key in self.pictures else by_name.get(key, [])
                if len(found) > 1:
                    raise InputError(f'{where}: {name!r} may be {found[0]} or {found[1]}: write the whole path')
                if found:
                    return found[0]
        raise InputError(f'{where}: no labelled picture {text!r} in {self.root}: restore it or take the line out')


def spelt_alike(names: list[str], counts: Counter) -> dict[str, str]:
    """Names that differ from a more frequent one in case and blanks alone, and that one."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names, key=lambda name: (-counts[name], name)):
        alike[name.strip().casefold()].append(name)
    return {other: group[0] for group in alike.values() for other in group[1:]}
