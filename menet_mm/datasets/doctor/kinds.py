"""What ``tools/check_data.py`` looks for: a table of kinds of findings, each with a function that yields the cases.

A new kind is one function and one row of :data:`KINDS`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from menet_mm.datasets.doctor.cases import (
    BEYOND,
    TINY,
    Case,
    Cases,
    Finding,
    beyond,
    boxes_not_turned,
    covering,
    empty,
    inverted,
    is_sound,
    of_boxes,
    of_files,
    outside,
    parts_of_side,
    rotation_unsure,
    size_differs,
    tiny,
    truncated,
    undecodable,
    wrong_ending,
)
from menet_mm.datasets.doctor.examine import Exam
from menet_mm.datasets.labels import Box, Labels, spelt_alike
from menet_mm.datasets.splits import group_copies

SAME = 0.999  # IoU of boxes that are one
ALIKE = 4  # mean difference of grey values, of 255, of pictures that are nearly the same
RARE = 100  # a class with so many times fewer objects than the most frequent one
UNREACHED = 0.2  # part of the boxes that no anchor finds


def _unreadable(exam: Exam) -> Cases:
    for split, text in _errors(exam):
        if 'entit' not in text and 'is missing' not in text and 'twice' not in text:
            yield Case(split, text)


def _entities(exam: Exam) -> Cases:
    yield from (Case(split, text) for split, text in _errors(exam) if 'entit' in text)


def _missing_annotation(exam: Exam) -> Cases:
    yield from (Case(split, text) for split, text in _errors(exam) if 'is missing' in text)


def _errors(exam: Exam) -> Iterator[tuple[str, str]]:
    return ((split, text) for split, part in exam.parts.items() for text in part.labels.errors)


def _notes(exam: Exam) -> Cases:
    for split, part in exam.parts.items():
        for kind, where in part.labels.notes.items():
            yield Case(split, f'{len(where)} {kind} (the first: {where[0]})')


def _nearest(name: str, classes: list[str]) -> str | None:
    folded = {known.strip().casefold().replace('_', ' ').replace('-', ' '): known for known in classes}
    near = get_close_matches(name.strip().casefold().replace('_', ' ').replace('-', ' '), folded, 1, cutoff=0.8)
    return folded[near[0]] if near else None


def _counts(exam: Exam, split: str) -> Counter:
    return exam.parts[split].labels.counts()


def _unknown_classes(exam: Exam) -> Cases:
    for split in exam.parts:
        for name, number in _counts(exam, split).items():
            if name not in exam.classes and not _nearest(name, exam.classes):
                yield Case(split, f'{number} of {name!r}')


def _misspelt_classes(exam: Exam) -> Cases:
    pairs = spelt_alike(exam.classes, sum((_counts(exam, split) for split in exam.parts), Counter()))
    for split in exam.parts:
        for name, number in _counts(exam, split).items():
            others = [known for known in exam.classes if known != name]
            near = pairs.get(name) or (name not in exam.classes and _nearest(name, others))
            if near:
                yield Case(split, f'{number} of {name!r}: {near!r} is meant?')


def _absent_classes(exam: Exam) -> Cases:
    for split in exam.parts:
        counts = _counts(exam, split)
        for name in exam.classes if counts else ():
            if not counts[name]:
                yield Case(split, f'nothing is of {name!r}')


def _nothing_at_all(exam: Exam) -> Cases:
    for split, part in exam.parts.items():
        boxes = [box for picture in part.labels.pictures.values() for box in picture.boxes]
        labelled = any(picture.label is not None for picture in part.labels.pictures.values())
        if not part.labels.pictures:
            yield Case(split, f'{part.source} has no pictures that can be used')
        elif not labelled and not boxes:
            yield Case(split, f'{part.source} has {len(part.labels.pictures)} pictures without an object')
        elif boxes and all(box.difficult or box.crowd for box in boxes):
            yield Case(
                split, f'all {len(boxes)} objects of {part.source} are difficult or crowds, and count for nothing'
            )


def _imbalance(exam: Exam) -> Cases:
    for split in exam.parts:
        counts = Counter({name: number for name, number in _counts(exam, split).items() if name in exam.classes})
        for name, number in counts.items():
            if number * RARE <= max(counts.values()):
                top, most = counts.most_common(1)[0]
                yield Case(split, f'{number} of {name!r}, but {most} of {top!r}')


def _doubled(exam: Exam) -> Cases:
    for split, name, picture, _ in exam.pictures():
        seen: dict[str, list[Box]] = defaultdict(list)
        for box in picture.boxes:
            if is_sound(box) and any(_overlap(box, other) >= SAME for other in seen[box.name]):
                yield Case(split, f'{picture.source or picture.path}: {box.name} twice', picture, box, name)
            seen[box.name].append(box)


def _overlap(a: Box, b: Box) -> float:
    common = max(0, min(a.x2, b.x2) - max(a.x1, b.x1)) * max(0, min(a.y2, b.y2) - max(a.y1, b.y1))
    areas = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1)
    return common / (areas - common) if areas > common else 0


def _without_objects(exam: Exam) -> Cases:
    for split, name, picture, facts in exam.pictures():
        if not picture.boxes and picture.label is None and facts.bytes:
            yield Case(split, str(picture.path), picture, id=name)


def _listed_twice(exam: Exam) -> Cases:
    for split, part in exam.parts.items():
        for name, number in Counter(part.listed).items():
            if number > 1:
                yield Case(
                    split, f'{name} stands {number} times in {part.source}', part.labels.pictures.get(name), id=name
                )


def _same_in_two_splits(exam: Exam) -> Cases:
    yield from (case for exact, across, case in _copies(exam) if exact and across)


def _alike_in_two_splits(exam: Exam) -> Cases:
    yield from (case for exact, across, case in _copies(exam) if not exact and across)


def _same_in_one_split(exam: Exam) -> Cases:
    yield from (case for exact, across, case in _copies(exam) if exact and not across)


def _copies(exam: Exam) -> Iterator[tuple[bool, bool, Case]]:
    """Pictures that are the same, or nearly, as one before: whether the bytes are, whether splits differ, the case."""
    where = {}
    for split, name, picture, facts in exam.pictures():
        if facts.thumbnail is not None:
            where[f'{split}\0{name}'] = (split, name, picture, facts)
    pictures = {key: picture for key, (_, _, picture, _) in where.items()}
    for group in group_copies(Labels(Path(), pictures=pictures)):
        group.sort(key=lambda key: where[key][0] == 'train')  # what is tested stays
        for place, key in enumerate(group):
            split, name, picture, facts = where[key]
            for other in sorted(group[:place], key=lambda other: where[other][0] == split):
                first_split, _, first, first_facts = where[other]
                exact = facts.digest == first_facts.digest
                grey = [one.thumbnail.astype(int) for one in (facts, first_facts)]
                if exact or np.abs(grey[0] - grey[1]).mean() <= ALIKE:
                    text = f'{picture.path} is {"the same as" if exact else "nearly the same as"} {first.path} in {first_split}'
                    yield exact, split != first_split, Case(split, text, picture, id=name, other=first)
                    break


def _unreached(exam: Exam) -> Cases:
    if exam.missed and exam.missed[1] > UNREACHED:
        yield Case('train', f'no anchor overlaps {exam.missed[1]:.1%} of {exam.missed[0]} boxes by an IoU of 0.5')


REPLACE = 'Replace it, or take it out of the list.'
#: Kind, level, title, advice, and what yields the cases.
KINDS: list[tuple[str, str, str, str, Callable[[Exam], Cases]]] = [
    ('picture missing', 'error', 'pictures are not there', REPLACE, of_files(lambda p, f: f.bytes is None)),
    ('picture empty', 'error', 'picture files are empty', REPLACE, of_files(lambda p, f: f.bytes == 0)),
    ('picture truncated', 'error', 'pictures are cut off', REPLACE, of_files(truncated)),
    ('picture undecodable', 'error', 'pictures cannot be decoded', REPLACE, of_files(undecodable)),
    ('annotation unreadable', 'error', 'annotations cannot be read', 'Export them again.', _unreadable),
    ('entity declaration', 'error', 'annotations declare entities', 'No labelling tool does; look where they come from.', _entities),
    ('annotation missing', 'error', 'annotations are not there', 'Restore them, or take the ids out of the list.', _missing_annotation),
    ('parts of the side', 'error', 'boxes are parts of the side, not pixels', 'Multiply them by width and height.', of_boxes(parts_of_side)),
    ('box inverted', 'error', 'boxes have their corners swapped', 'Export them again.', of_boxes(inverted)),
    ('box without area', 'warning', 'boxes have no area', 'Training leaves them out: draw them again.', of_boxes(empty)),
    ('box outside', 'error', 'boxes lie outside their picture', 'Is the annotation of another picture?', of_boxes(outside)),
    ('rotation contradicts', 'error', 'pictures are turned by EXIF, but not their boxes',
     'menet_mm.BoxDataset reads them unturned; elsewhere give LoadImageFromFile color_type=\'color_ignore_orientation\'.', of_files(boxes_not_turned)),
    ('no objects', 'error', 'splits have nothing to learn or measure', 'Look at the annotations and at metainfo.classes.', _nothing_at_all),
    ('same picture in two splits', 'error', 'pictures are in two splits', 'Results would flatter: keep them in one.', _same_in_two_splits),
    ('listed twice', 'error', 'pictures stand twice in a list', 'They would count twice.', _listed_twice),
    ('class misspelt', 'warning', 'classes in another spelling', 'Correct the labels, or make them one with tools/new_project.py --rename OLD=NEW; what a config does not name is left out.', _misspelt_classes),
    ('class unknown', 'warning', 'classes that the config does not name', 'Their objects are left out.', _unknown_classes),
    ('class absent', 'warning', 'classes without objects', 'Their AP is not measured, or they are not learnt.', _absent_classes),
    ('size differs', 'warning', 'annotations give another size than the picture has', 'Is the annotation of another picture?', of_files(size_differs)),
    ('rotation unsure', 'warning', 'pictures are turned by EXIF, and the annotation does not say of which way boxes are', 'Look whether boxes lie on the objects.', of_files(rotation_unsure)),
    ('wrong ending', 'warning', 'pictures have the ending of another format', 'They are read all the same here; other tools may fail.', of_files(wrong_ending)),
    ('box beyond the edge', 'warning', f'boxes pass the edge by more than {BEYOND} pixels', 'They are cut off there.', of_boxes(beyond)),
    ('box tiny', 'warning', f'boxes have a side under {TINY} pixels after the picture is resized', 'Train on larger pictures, or on parts of them.', of_boxes(tiny)),
    ('box doubled', 'warning', 'boxes stand twice', 'Remove one of each.', _doubled),
    ('nearly the same picture in two splits', 'warning', 'pictures are nearly the same as one in another split', 'Frames of one video? Keep them in one split.', _alike_in_two_splits),
    ('same picture in one split', 'warning', 'pictures are there twice', 'Keep one of each.', _same_in_one_split),
    ('anchors', 'warning', 'splits have boxes that no anchor reaches', 'Fit the anchors with tools/fit_anchors.py.', _unreached),
    ('imbalance', 'warning', f'classes are {RARE} times rarer than another one', 'Collect more of them.', _imbalance),
    ('box covers everything', 'note', 'boxes cover the whole picture', 'Right for close-ups; a class of the picture otherwise.', of_boxes(covering)),
    ('picture without objects', 'note', 'pictures have no objects', 'Background? Training leaves them out unless filter_cfg says otherwise.', _without_objects),
    ('reading', 'note', 'things that were met while reading', 'See the lines.', _notes),
]  # fmt: skip


def find(exam: Exam) -> list[Finding]:
    """Look for all kinds; returns those with cases, worst first."""
    found = [Finding(kind, level, title, advice, list(cases(exam))) for kind, level, title, advice, cases in KINDS]
    return [finding for finding in found if finding.cases]
