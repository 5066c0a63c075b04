"""Results of a model for a user's pictures, as drawings and as plain values; works without torch with an exported model."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.files import write_text
from menet_mm.utils.pictures import draw_result, find_font, find_images, read_image, write_image


def predict_folder(
    load: Callable[[], tuple[Callable[[np.ndarray], dict], list[str] | None]],
    images: list[str],
    out: Path | None = None,
    table: Path | None = None,
    score_thr: float = 0.3,
    **source: str,
) -> dict:
    """Run a model over ``images``: files, folders (searched to the bottom) or globs; skip and list those that are damaged.

    ``load``, called when the other arguments are checked, returns what ``apis.inference.get_predictor`` does. ``out`` is a
    folder for drawings, ``table`` a JSON file for the results and ``source``. Returns that file's content, ``others``, the
    number of files that are no pictures, and the model's ``seconds``. Raises ``InputError`` if an argument cannot be used.
    """
    check_arguments(score_thr, table)
    if out and out.exists() and not out.is_dir():
        raise InputError(f'--out {out} is a file: give a folder')
    there = out and next(path for path in (out, *out.absolute().parents) if path.exists())
    if there and not os.access(there, os.W_OK):
        raise InputError(f'--out {out} cannot be written: {there} is read-only; give another folder')
    targets, others = find_images(images)
    if out and {path.resolve() for path in targets} & {(out / target).resolve() for target in targets.values()}:
        raise InputError(f'--out {out} would overwrite the pictures themselves: give another folder')
    predict, classes = load()
    if out:
        check_fonts(classes)
    results, skipped, seconds = [], [], 0.0
    for path, target in track(targets.items(), 'Pictures', len(targets), disable=len(targets) < 5):
        image, defect = read_image(path)
        if defect:
            skipped.append(dict(image=str(path), reason=defect))
            print(f'skipped {path}: {defect}', file=sys.stderr)
            continue
        start = time.perf_counter()
        found = predict(image)
        seconds += time.perf_counter() - start
        height, width = image.shape[:2]
        results.append(dict(image=str(path), width=width, height=height, **describe(found, classes, score_thr)))
        if out:
            write_image(out / target, draw_result(image, results[-1]))
    content = dict(source, classes=classes, results=results, skipped=skipped)
    if table:
        write_text(table, json.dumps(content, indent=1))
    return dict(content, others=others, seconds=seconds)


def check_arguments(score_thr: float, table: Path | None) -> None:
    """Raise ``InputError`` if the threshold is none, or there is a folder in the place of the JSON file."""
    if not 0 <= score_thr <= 1:
        raise InputError(f'--score-thr must lie in 0..1, but got {score_thr:g}')
    if table and table.is_dir():
        raise InputError(f'--json {table} is a folder: give a file')


def check_fonts(classes: list[str] | None) -> None:
    """Say which classes are drawn as numbers, since no font has their characters."""
    if unwritable := [name for name in classes or () if not find_font(f'{name} 0123456789.', 24)]:
        names = ', '.join(unwritable[:5]) + (', ...' if unwritable[5:] else '')
        what = f'no font here has all characters of {names}: numbers of classes are drawn instead; install a font, '
        print(f'{what}such as the package fonts-noto-cjk or fonts-noto-core', file=sys.stderr)


def describe(found: dict[str, np.ndarray], classes: list[str] | None, score_thr: float) -> dict:
    """Turn a model's arrays into plain values: ``detections``, or the five best ``classes`` of a classifier."""
    if 'boxes' not in found:
        best = np.argsort(-found['scores'], kind='stable')[:5]
        return dict(classes=[_entry(label, found['scores'][label], classes) for label in best])
    rows = zip(found['labels'], found['scores'], found['boxes'].astype(float), strict=True)
    kept = [(_entry(label, score, classes), box) for label, score, box in rows if score >= score_thr]
    return dict(detections=[dict(entry, box=[round(value, 1) for value in box.tolist()]) for entry, box in kept])


def _entry(label: int, score: float, classes: list[str] | None) -> dict:
    return {'class': classes[label] if classes else str(label), 'label': int(label), 'score': round(float(score), 4)}
