"""Detect objects in pictures, or classify them, with a trained or an exported model: drawings, a JSON file, a summary."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_trust_argument, run
from menet_mm.utils.pictures import draw_result, find_images, read_image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='+', metavar='IMAGES', help='files, folders (searched to the bottom) or globs')
    parser.add_argument('--config', help='config file, or a name such as ssd_menet228_voc; with --weights')
    parser.add_argument('--weights', help='checkpoint: a file or an http(s) address')
    parser.add_argument(
        '--model', metavar='FILE', help='exported model (.onnx, .xml, .param) instead; needs its runtime alone'
    )
    parser.add_argument('--out', type=Path, metavar='DIR', help='draw the results into this folder')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results into this file')
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out detections below this score')
    parser.add_argument('--device', help='torch device; a GPU if there is one')
    add_trust_argument(parser)
    return parser.parse_args()


def load(args: argparse.Namespace) -> tuple[Callable[[np.ndarray], dict], list[str] | None]:
    """Make the function from a picture to arrays, ``boxes, scores, labels`` or ``scores``, and tell the classes."""
    if args.model:
        if args.config or args.weights or args.device or args.trust_checkpoint:
            raise InputError('--model is an exported model, which needs no --config, --weights, --device or trust')
        from menet_mm.deploy import Runner

        runner = Runner(args.model)
        return lambda image: runner(image, args.score_thr)[0], runner.classes
    if not (args.config and args.weights):
        raise InputError('give --config and --weights of a trained model, or --model of an exported one')
    from menet_mm.apis.inference import get_predictor  # torch and the MM libraries

    return get_predictor(args.config, args.weights, args.device, args.trust_checkpoint)


def describe(found: dict, classes: list[str] | None, score_thr: float) -> dict:
    """Turn arrays into plain values."""

    def entry(label: int, score: float) -> dict:
        return {
            'class': classes[label] if classes else str(label),
            'label': int(label),
            'score': round(float(score), 4),
        }

    if 'boxes' in found:
        rows = zip(found['boxes'], found['scores'], found['labels'], strict=True)
        return dict(
            detections=[
                dict(entry(label, score), box=[round(float(value), 1) for value in box])
                for box, score, label in rows
                if score >= score_thr
            ]
        )
    best = np.argsort(-found['scores'], kind='stable')[:5]
    return dict(classes=[entry(label, found['scores'][label]) for label in best])


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def main() -> None:
    args = parse_args()
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr must lie in 0..1, but got {args.score_thr:g}')
    targets, others = find_images(args.images)
    if args.out and args.out.exists() and not args.out.is_dir():
        raise InputError(f'--out {args.out} is a file: give a folder')
    if args.json and args.json.is_dir():
        raise InputError(f'--json {args.json} is a folder: give a file')
    pictures = {path.resolve() for path in targets}
    if args.out and any((args.out / target).resolve() in pictures for target in targets.values()):
        raise InputError(f'--out {args.out} would overwrite the pictures themselves: give another folder')

    predict, classes = load(args)
    results, skipped = [], []
    seconds = 0.0
    for path, target in track(targets.items(), 'Pictures', len(targets), disable=len(targets) < 5):
        image, defect = read_image(path)
        if defect:
            skipped.append(dict(image=str(path), reason=defect))
            print(f'skipped {path}: {defect}', file=sys.stderr)
            continue
        start = time.perf_counter()
        found = predict(image)
        seconds += time.perf_counter() - start
        result = dict(image=str(path), width=image.shape[1], height=image.shape[0])
        result |= describe(found, classes, args.score_thr)
        results.append(result)
        if args.out:
            drawing = args.out / target
            drawing.parent.mkdir(parents=True, exist_ok=True)
            if not cv2.imwrite(str(drawing), draw_result(image, result)):
                raise InputError(f'{drawing} cannot be written: make room on the disk, or give another --out')
    if args.json:
        source = dict(model=args.model) if args.model else dict(config=args.config, weights=args.weights)
        write_json(args.json, dict(source, classes=classes, results=results, skipped=skipped))

    if not (args.json or args.out):
        for result in results:
            names = [
                f'{item["class"]} {item["score"]:.2f}'
                for item in result.get('detections', result.get('classes', [])[:1])
            ]
            print(f'{result["image"]}: {", ".join(names) or "nothing found"}')
    counts = [len(result['detections']) for result in results if 'detections' in result]
    objects = f', {sum(counts)} objects' if counts else ''
    ignored = f', {others} other files left alone' if others else ''
    print(
        f'{len(results)} pictures{objects}, {1000 * seconds / max(len(results), 1):.0f} ms a picture; '
        f'{len(skipped)} skipped{ignored}'
        + (f'; drawn in {args.out}' if args.out else '')
        + (f'; results in {args.json}' if args.json else '')
    )
    sys.exit(1 if skipped else 0)


if __name__ == '__main__':
    run(main)
