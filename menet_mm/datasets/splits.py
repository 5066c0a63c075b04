"""Splits of a labelled set: those that are given, or seeded ones in which each class has its part and copies stay together."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from menet_mm.datasets.formats.files import read_header
from menet_mm.datasets.labels import Labels
from menet_mm.errors import InputError

#: Pictures of which no more of the 64 bits differ than this are taken for nearly the same.
NEAR = 3
#: Of more pictures with one quarter of the hash, such as plain ones, only those with equal hashes are compared.
MAX_BUCKET = 500


def hash_picture(path: Path) -> int | None:
    """64 bits that say, of 8 x 8 places in a grey miniature, whether it gets brighter to the right; None if unreadable.

    This is the difference hash of https://www.hackerfactor.com/blog/index.php?/archives/529-Kind-of-Like-That.html.
    """
    if not (header := read_header(path)):
        return None
    # A JPEG is decoded faster at a part of its size; enough must be left for 9 x 8 places.
    side = min(header.width, header.height)
    mode = (
        cv2.IMREAD_REDUCED_GRAYSCALE_8
        if side >= 512
        else cv2.IMREAD_REDUCED_GRAYSCALE_2
        if side >= 128
        else cv2.IMREAD_GRAYSCALE
    )
    try:
        image = cv2.imread(str(path), mode)
        small = cv2.resize(image, (9, 8), interpolation=cv2.INTER_AREA).astype(int)
    except cv2.error:
        return None
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), 'big')


def group_copies(labels: Labels) -> list[list[str]]:
    """Group the ids of pictures that are nearly the same; most groups are of one picture."""
    ids = list(labels.pictures)
    with ThreadPoolExecutor(max_workers=4) as pool:
        hashes = dict(zip(ids, pool.map(hash_picture, (labels.pictures[name].path for name in ids)), strict=True))
    leader = {name: name for name in ids}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    # If three bits differ, at least one of four quarters of the hash is equal.
    buckets: dict[object, list[str]] = {}
    for name, value in hashes.items():
        if value is not None:
            for key in (value, *((place, value >> 16 * place & 0xFFFF) for place in range(4))):
                buckets.setdefault(key, []).append(name)
    for key, names in buckets.items():
        if isinstance(key, int):
            pairs = ((names[0], other) for other in names[1:])
        else:
            pairs = combinations(names, 2) if len(names) <= MAX_BUCKET else ()
        for one, other in pairs:
            if (hashes[one] ^ hashes[other]).bit_count() <= NEAR:
                leader[find(other)] = find(one)
    groups: dict[str, list[str]] = {}
    for name in ids:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def choose_splits(labels: Labels, part: float = 0.2, seed: int = 0) -> tuple[dict[str, list[str]], str]:
    """Return lists of ids for train, val and test, and a sentence on where they come from.

    Given splits are kept: trainval stands for train where there is none, and test and val for each other. If only pictures
    to train on are given, or nothing, ``part`` of them goes into val.

    Raises:
        InputError: if there are too few pictures.
    """
    given = {split: ids for split, ids in labels.splits.items() if ids}
    val, test = given.get('val') or given.get('test'), given.get('test') or given.get('val')
    train = given.get('train') or given.get('trainval')
    if not train:
        train = [name for name in labels.pictures if name not in {*(val or ()), *(test or ())}]
    if val and train:
        # A trainval has the validation pictures in it.
        train = train if given.get('train') else [name for name in train if name not in set(val)]
        return dict(train=train, val=val, test=test), 'the splits of the data are kept'
    train, val = split_by_class(labels, train or list(labels.pictures), part, seed)
    return dict(train=train, val=val, test=val), f'{part:.0%} of the pictures, drawn by class, are kept for validation'


def split_by_class(labels: Labels, ids: list[str], part: float, seed: int) -> tuple[list[str], list[str]]:
    """Split ids so that each class has about ``part`` of its pictures in the second list; rare classes first.

    This is iterative stratification (https://doi.org/10.1007/978-3-642-23808-6_10) over groups of near copies.

    Raises:
        InputError: if one of the lists stays empty.
    """
    chosen, rng = set(ids), np.random.default_rng(seed)
    groups = [kept for group in group_copies(labels) if (kept := [name for name in group if name in chosen])]
    groups = sorted((groups[i] for i in rng.permutation(len(groups))), key=len, reverse=True)
    counts = [_classes(labels, group) for group in groups]
    total = sum(counts, Counter())
    wanted = [{name: share * number for name, number in total.items()} for share in (1 - part, part)]
    room = [(1 - part) * len(ids), part * len(ids)]
    sides: list[list[str]] = [[], []]
    left = set(range(len(groups)))
    while left:
        open_counts = sum((counts[i] for i in left), Counter())
        rarest = min(open_counts, key=lambda name: (open_counts[name], name))
        for i in [i for i in sorted(left) if rarest in counts[i]]:
            side = max((0, 1), key=lambda s: (wanted[s][rarest], room[s]))
            sides[side] += groups[i]
            room[side] -= len(groups[i])
            for name, number in counts[i].items():
                wanted[side][name] -= number
            left.remove(i)
    if not all(sides):
        raise InputError(
            f'{len(ids)} pictures in {len(groups)} kinds are too few to train and validate on: give more, or other --val'
        )
    return sorted(sides[0]), sorted(sides[1])


def _classes(labels: Labels, group: list[str]) -> Counter:
    """Pictures of a group by class; those without an object are of the class ''."""
    return sum((Counter({name: 1 for name in labels.counts([picture])} or {'': 1}) for picture in group), Counter())
