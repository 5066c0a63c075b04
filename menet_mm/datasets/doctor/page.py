"""What ``tools/check_data.py`` found, as lines, as JSON, and as one HTML page that needs nothing beside it."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from menet_mm.datasets.doctor.cases import Case, Finding
from menet_mm.datasets.doctor.examine import Exam
from menet_mm.datasets.formats.files import read_header
from menet_mm.datasets.labels import Box, Picture
from menet_mm.utils.files import write_text
from menet_mm.utils.html import STYLE, encode_jpeg
from menet_mm.utils.pictures import FORMATS

SHOWN = 8  # pictures of a kind on the page
LISTED = 50  # lines of a kind on the page
SIDE = 220  # pixels of a drawing
COLOURS = dict(error='#c0392b', warning='#b9770e', note='#566573')


def summary(exam: Exam, findings: list[Finding]) -> list[str]:
    """Lines for the terminal: what there is, then one for each kind."""
    lines = []
    for split, part in exam.parts.items():
        counts = part.labels.counts()
        named = ', '.join(f'{name} {number}' for name, number in counts.most_common(20))
        lines.append(f'{split}: {len(part.labels.pictures)} pictures, {sum(counts.values())} labels: {named or "none"}')
    if exam.missed:
        lines.append(f'anchors: {exam.missed[1]:.1%} of {exam.missed[0]} boxes of train are reached by none')
    for finding in findings:
        number, first = len(finding.cases), finding.cases[0].text
        lines.append(f'{finding.level}: {number} {finding.title} (the first: {first}). {finding.advice}')
    errors = sum(finding.level == 'error' for finding in findings)
    lines.append(f'{errors} kinds of errors, {sum(f.level == "warning" for f in findings)} of warnings')
    return lines


def to_json(exam: Exam, findings: list[Finding]) -> dict:
    """Plain values of all that was found."""
    return {
        'classes': exam.classes,
        'splits': {
            split: dict(pictures=len(part.labels.pictures), labels=dict(part.labels.counts()))
            for split, part in exam.parts.items()
        },
        'unreached_boxes': exam.missed and dict(boxes=exam.missed[0], share=exam.missed[1]),
        'findings': [
            {
                'kind': finding.kind,
                'level': finding.level,
                'title': finding.title,
                'advice': finding.advice,
                'count': len(finding.cases),
                'cases': [_plain(case) for case in finding.cases],
            }
            for finding in findings
        ],
    }


def _plain(case: Case) -> dict:
    box = case.box
    return {
        'split': case.split,
        'text': case.text,
        'picture': str(case.picture.path) if case.picture else None,
        'box': box and [box.x1, box.y1, box.x2, box.y2],
    }


def write_json(path: Path, exam: Exam, findings: list[Finding]) -> None:
    """Write :func:`to_json`."""
    write_text(path, json.dumps(to_json(exam, findings), indent=1, ensure_ascii=False, default=str) + '\n')


def write_page(path: Path, title: str, exam: Exam, findings: list[Finding]) -> None:
    """Write the page, with drawings of the first cases of each kind."""
    body = [f'<h1>{escape(title)}</h1>', _table(exam), _sizes(exam)]
    for finding in findings:
        colour, number = COLOURS[finding.level], len(finding.cases)
        body.append(
            f'<h2 style="color:{colour}">{finding.level}: {number} {escape(finding.title)} <small>{escape(finding.advice)}</small></h2>'
        )
        drawn = [(case, _draw(case)) for case in _spread(finding.cases)]
        body += [
            f'<figure><img src="{image}" alt=""><figcaption>{escape(case.split)}: {escape(case.text)}</figcaption></figure>'
            for case, image in drawn
            if image
        ]
        rest = [
            case
            for case in finding.cases
            if case.picture is None or not any(case is one for one, image in drawn if image)
        ]
        body.append(
            '<ul>' + ''.join(f'<li>{escape(case.split)}: {escape(case.text)}</li>' for case in rest[:LISTED]) + '</ul>'
        )
        if len(rest) > LISTED:
            body.append(f'<p>and {len(rest) - LISTED} more, which --json lists</p>')
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    write_text(path, head + '\n'.join(body) + '</html>\n')


def _spread(cases: list[Case]) -> list[Case]:
    """A few cases of different pictures."""
    first = {case.picture.path: case for case in reversed(cases) if case.picture is not None}
    return list(reversed(first.values()))[:SHOWN]


def _table(exam: Exam) -> str:
    counts = {split: part.labels.counts() for split, part in exam.parts.items()}
    others = {name for split in counts.values() for name in split if name not in exam.classes}
    rows = [('pictures', *(len(part.labels.pictures) for part in exam.parts.values()))]
    rows += [(name, *(split[name] for split in counts.values())) for name in [*exam.classes, *sorted(others)]]
    cells = ''.join('<tr>' + ''.join(f'<td>{escape(str(cell))}</td>' for cell in row) + '</tr>' for row in rows)
    return f'<table><tr><th></th>{"".join(f"<th>{escape(split)}</th>" for split in counts)}</tr>{cells}</table>'


def _sizes(exam: Exam) -> str:
    """Sides of boxes as parts of the picture, and the share that no anchor finds."""
    sides = [
        (box.x2 - box.x1) * (box.y2 - box.y1) / (facts.header.width * facts.header.height)
        for _, _, picture, facts in exam.pictures()
        if facts.header
        for box in picture.boxes
        if box.x2 > box.x1 and box.y2 > box.y1
    ]
    lines = []
    if sides:
        low, middle, high = np.sqrt(np.quantile(sides, (0.05, 0.5, 0.95)))
        lines.append(
            f'Boxes have {low:.1%} to {high:.1%} of the side of their picture (5 to 95 of 100), {middle:.1%} in the middle.'
        )
    if exam.missed:
        lines.append(f'Of {exam.missed[0]} boxes of train, {exam.missed[1]:.1%} are reached by no anchor.')
    return f'<p>{" ".join(lines)}</p>'


def _draw(case: Case) -> str | None:
    """The picture of a case, beside the other one if it has one, as the address of a small JPEG; None if it cannot be read."""
    drawn = [_draw_boxes(picture, case.box) for picture in (case.picture, case.other) if picture is not None]
    if None in drawn:
        return None
    sheet, left = (
        Image.new('RGB', (sum(image.width for image in drawn), max(image.height for image in drawn)), 'white'),
        0,
    )
    for image in drawn:
        sheet.paste(image, (left, 0))
        left += image.width
    return encode_jpeg(sheet)


def _draw_boxes(picture: Picture, chosen: Box | None) -> Image.Image | None:
    """A picture with all its boxes, and the chosen one in red; None if it cannot be read."""
    try:
        with Image.open(picture.path, formats=FORMATS) as image:
            image.draft('RGB', (2 * SIDE, 2 * SIDE))
            image.load()
            image = ImageOps.exif_transpose(image).convert('RGB')
    except Exception:  # a decoder may raise anything on a damaged file
        return None
    full = read_header(picture.path).shown  # a draft is smaller
    scale = (image.width / full[0], image.height / full[1])
    canvas = ImageDraw.Draw(image)
    boxes = [box for box in picture.boxes if box is not chosen] + [chosen] * (chosen is not None)
    for box in boxes:
        colour, width = ('red', 3) if box is chosen else ('deepskyblue', 1)
        xs, ys = sorted((box.x1 * scale[0], box.x2 * scale[0])), sorted((box.y1 * scale[1], box.y2 * scale[1]))
        canvas.rectangle((xs[0], ys[0], xs[1], ys[1]), outline=colour, width=max(1, round(width * image.width / SIDE)))
    return ImageOps.contain(image, (SIDE, SIDE))
