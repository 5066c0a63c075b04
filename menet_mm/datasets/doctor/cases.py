"""Cases of mistakes in a labelled set, and what tells them by a single picture's file or a single box."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from menet_mm.datasets.doctor.examine import Exam, Facts
from menet_mm.datasets.labels import Box, Picture

#: Endings by Pillow's name of a format.
ENDINGS = dict(
    JPEG=('.jpg', '.jpeg', '.jpe', '.jfif'),
    MPO=('.jpg', '.jpeg', '.mpo'),
    PNG=('.png',),
    BMP=('.bmp', '.dib'),
    WEBP=('.webp',),
    TIFF=('.tif', '.tiff'),
    GIF=('.gif',),
    PPM=('.ppm', '.pgm', '.pbm', '.pnm'),
)
TINY = 2  # pixels of a side that a box has left after the picture is resized
BEYOND = 2  # pixels by which a box may pass the edge: tools count differently
COVERED = 0.98  # part of the picture that a box covers


@dataclass
class Case:
    """One case: of a split, with its picture if there is one, the box in question, and another picture to compare with."""

    split: str
    text: str
    picture: Picture | None = None
    box: Box | None = None
    id: str | None = None
    other: Picture | None = None


@dataclass
class Finding:
    """A kind with its cases. ``level`` is error, warning or note; errors would spoil training or test."""

    kind: str
    level: str
    title: str
    advice: str
    cases: list[Case] = field(default_factory=list)


Cases = Iterator[Case]


def of_files(is_bad: Callable[[Picture, Facts], str | None]) -> Callable[[Exam], Cases]:
    """Judge each picture's file; the answer is the text of the case."""

    def cases(exam: Exam) -> Cases:
        for split, name, picture, facts in exam.pictures():
            if text := is_bad(picture, facts):
                yield Case(
                    split, f'{picture.path}: {text}' if text is not True else str(picture.path), picture, id=name
                )

    return cases


def of_boxes(is_bad: Callable[[Exam, Box, tuple[int, int]], str | bool]) -> Callable[[Exam], Cases]:
    """Judge each box, with the size of its picture."""

    def cases(exam: Exam) -> Cases:
        for split, name, picture, facts in exam.pictures():
            header = facts.header
            for box in picture.boxes if header else ():
                turned = picture.size == (header.width, header.height)
                if is_bad(exam, box, picture.size if turned else header.shown):
                    sides = ', '.join(f'{side:g}' for side in (box.x1, box.y1, box.x2, box.y2))
                    yield Case(split, f'{picture.source or picture.path}: {box.name} ({sides})', picture, box, name)

    return cases


def undecodable(picture: Picture, facts: Facts) -> str | None:
    bad = facts.bytes and facts.defect and not truncated(picture, facts)
    return facts.defect if bad else None


def truncated(picture: Picture, facts: Facts) -> str | None:
    found = facts.bytes and facts.header and facts.defect
    return facts.defect if found and ('truncat' in facts.defect or 'incomplete' in facts.defect) else None


def wrong_ending(picture: Picture, facts: Facts) -> str | None:
    known = ENDINGS.get(facts.kind)
    return f'is a {facts.kind} file' if known and picture.path.suffix.lower() not in known else None


def boxes_not_turned(picture: Picture, facts: Facts) -> bool:
    header = facts.header
    return bool(header and picture.boxes and (header.width, header.height) == picture.size != header.shown)


def rotation_unsure(picture: Picture, facts: Facts) -> str | None:
    header = facts.header
    if not header or header.turn == 1 or not picture.boxes:
        return None
    told = (
        header.turn >= 5
        and header.width != header.height
        and picture.size in ((header.width, header.height), header.shown)
    )
    return None if told else f'EXIF orientation {header.turn}'


def size_differs(picture: Picture, facts: Facts) -> str | None:
    header = facts.header
    if not header or not picture.size or picture.size in ((header.width, header.height), header.shown):
        return None
    return f'annotated as {picture.size[0]} x {picture.size[1]}, but has {header.shown[0]} x {header.shown[1]}'


def is_part_of_side(box: Box) -> bool:
    sides = (box.x1, box.y1, box.x2, box.y2)
    # VOC's numbers lose what is behind the point, and one is taken off.
    cut = min(sides) >= -1 and max(sides) <= 0 and min(sides) < 0
    return cut or (min(sides) >= 0 and max(sides) <= 1 and any(side % 1 for side in sides))


def parts_of_side(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    return is_part_of_side(box)


def inverted(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    return (box.x2 < box.x1 or box.y2 < box.y1) and not is_part_of_side(box)


def empty(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    return (box.x2 == box.x1 or box.y2 == box.y1) and not inverted(exam, box, size) and not is_part_of_side(box)


def is_sound(box: Box) -> bool:
    return box.x2 > box.x1 and box.y2 > box.y1


def outside(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    return (
        is_sound(box)
        and (box.x1 >= size[0] or box.y1 >= size[1] or box.x2 <= 0 or box.y2 <= 0)
        and not is_part_of_side(box)
    )


def beyond(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    most = max(-box.x1, -box.y1, box.x2 - size[0], box.y2 - size[1])
    return is_sound(box) and most > BEYOND and not outside(exam, box, size)


def tiny(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    if not exam.input_size or not is_sound(box) or is_part_of_side(box):
        return False
    w, h = exam.input_size
    scale = (w / size[0], h / size[1])
    return min((box.x2 - box.x1) * scale[0], (box.y2 - box.y1) * scale[1]) < TINY


def covering(exam: Exam, box: Box, size: tuple[int, int]) -> bool:
    return is_sound(box) and (box.x2 - box.x1) * (box.y2 - box.y1) >= COVERED * size[0] * size[1]
