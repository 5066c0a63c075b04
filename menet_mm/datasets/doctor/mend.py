"""Cleaned lists beside the ones that were checked; nothing that is there is touched."""

from __future__ import annotations

import json
from pathlib import Path

from menet_mm.datasets.doctor.cases import Finding
from menet_mm.datasets.doctor.examine import Exam, Part
from menet_mm.errors import InputError
from menet_mm.utils.files import write_text

#: Of these kinds a picture with one case is left out; of two that are the same one is, rather of those to train on.
LEFT_OUT = {
    'picture missing',
    'picture empty',
    'picture truncated',
    'picture undecodable',
    'rotation contradicts',
    'parts of the side',
    'box inverted',
    'box outside',
    'same picture in two splits',
    'same picture in one split',
}


def write_clean_lists(exam: Exam, findings: list[Finding]) -> list[str]:
    """Write a list of the sound pictures of each split; returns lines of what was written.

    Raises:
        InputError: if a file of that name is there already.
    """
    bad = {(case.split, case.id) for finding in findings if finding.kind in LEFT_OUT for case in finding.cases}
    files = {}
    for split, part in exam.parts.items():
        kept = [
            name for name in dict.fromkeys(part.listed) if (split, name) not in bad and name in part.labels.pictures
        ]
        path, text = _clean(split, part, set(kept), kept)
        if path.exists():
            raise InputError(f'{path} is there already: remove it, or use it; --fix writes over nothing')
        files[path] = text, f'{path}: {len(kept)} of {len(part.listed)} pictures'
    for path, (text, _) in files.items():
        write_text(path, text)
    return [line for _, line in files.values()]


def _clean(split: str, part: Part, chosen: set[str], kept: list[str]) -> tuple[Path, str]:
    source, labels = part.source, part.labels
    if source.suffix == '.json':
        content = json.loads(source.read_bytes())
        content['images'] = [image for image in content['images'] if str(image['id']) in chosen]
        annotations = content.get('annotations', [])
        content['annotations'] = [entry for entry in annotations if str(entry.get('image_id')) in chosen]
        return source.with_name(f'{source.stem}_clean.json'), json.dumps(content, ensure_ascii=False)
    path = source / f'{split}_clean.txt' if source.is_dir() else source.with_name(f'{source.stem}_clean.txt')
    label = {name: labels.classes.index(p.label) for name, p in labels.pictures.items() if p.label is not None}
    return path, ''.join(f'{name} {label[name]}\n' if name in label else f'{name}\n' for name in kept)
