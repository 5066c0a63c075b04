"""Detect objects in pictures, or classify them, with a trained model: drawn pictures, a JSON file, a summary."""

import argparse
import glob
import io
import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import cv2
from mmengine.logging import MMLogger
from rich.progress import track

from menet_mm.cli import add_trust_argument, run
from menet_mm.datasets.check import find_defect
from menet_mm.errors import InputError
from menet_mm.inference import get_inferencer

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff', '.ppm', '.pgm')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='+', metavar='IMAGES', help='files, folders (searched to the bottom) or globs')
    parser.add_argument('--config', required=True, help='config file, or a name such as ssd_menet228_voc')
    parser.add_argument('--weights', required=True, help='checkpoint: a file or an http(s) address')
    parser.add_argument('--out', type=Path, metavar='DIR', help='draw the results into this folder')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the results into this file')
    parser.add_argument('--score-thr', type=float, default=0.3, help='leave out detections below this score')
    parser.add_argument('--device', help='torch device; a GPU if there is one')
    add_trust_argument(parser)
    return parser.parse_args()


def find_images(patterns: list[str]) -> tuple[dict[Path, Path], int]:
    """Collect pictures; what a folder holds besides pictures, by their endings, is counted only.

    Returns:
        Where each picture's drawing goes inside ``--out``, by the picture's path, and the number of other files.

    Raises:
        InputError: if a pattern matches nothing.
    """
    targets: dict[Path, Path] = {}
    others = 0
    for pattern in patterns:
        matches = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise InputError(f'no such file, folder or glob: {pattern}')
        for match in map(Path, matches):
            if not match.is_dir():
                targets[match] = Path(match.name)
                continue
            files = sorted(path for path in match.rglob('*') if path.is_file())
            pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
            others += len(files) - len(pictures)
            targets.update({path: path.relative_to(match) for path in pictures})
    if not targets:
        raise InputError(f'no pictures in {", ".join(patterns)}: files ending in {", ".join(SUFFIXES)} were expected')
    taken: set[Path] = set()
    for path, target in targets.items():
        # cv2 writes by the ending; two pictures of one name in two folders both stay.
        name = target.with_suffix('.jpg')
        while name in taken:
            name = name.with_name(f'{name.stem}_.jpg')
        taken.add(name)
        targets[path] = name
    return targets, others


def describe(sample, classes: tuple[str, ...] | None, score_thr: float) -> dict:
    """Turn the library's result for one picture into plain values."""
    if 'pred_instances' in sample:
        kept = sample.pred_instances[sample.pred_instances.scores >= score_thr]
        boxes, scores, labels = kept.bboxes.tolist(), kept.scores.tolist(), kept.labels.tolist()
        return dict(
            detections=[
                {'class': classes[label], 'label': label, 'score': round(score, 4), 'box': [round(v, 1) for v in box]}
                for box, score, label in zip(boxes, scores, labels, strict=True)
            ]
        )
    scores = sample.pred_score
    top = scores.topk(min(5, len(scores)))
    return dict(
        classes=[
            {'class': classes[label] if classes else str(label), 'label': label, 'score': round(score, 4)}
            for score, label in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]
    )


def draw(inferencer, image, sample, path: Path, score_thr: float) -> None:
    """Draw a result over its picture with the library's visualizer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if 'pred_instances' in sample:
        inferencer.visualizer.add_datasample(path.stem, rgb, sample, draw_gt=False, pred_score_thr=score_thr)
        drawn = inferencer.visualizer.get_image()
    else:
        from mmpretrain.visualization import UniversalVisualizer

        drawn = UniversalVisualizer().visualize_cls(rgb, sample, classes=inferencer.classes, draw_gt=False)
    cv2.imwrite(str(path), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_text(json.dumps(content, indent=1))
    os.replace(partial, path)


def main() -> None:
    args = parse_args()
    targets, others = find_images(args.images)
    if args.out and args.out.exists() and not args.out.is_dir():
        raise InputError(f'--out {args.out} is a file: give a folder')
    if args.json and args.json.is_dir():
        raise InputError(f'--json {args.json} is a folder: give a file')
    pictures = {path.resolve() for path in targets}
    if args.out and any((args.out / target).resolve() in pictures for target in targets.values()):
        raise InputError(f'--out {args.out} would overwrite the pictures themselves: give another folder')

    # The libraries log and print how they load things; what concerns the user is printed here.
    MMLogger.get_instance('infer', logger_name='infer', log_level='ERROR')
    with redirect_stdout(io.StringIO()):
        inferencer = get_inferencer(args.config, args.weights, args.device, args.trust_checkpoint)
    detector = hasattr(inferencer.model, 'dataset_meta')
    # One bar over all pictures instead of one for each.
    inferencer.show_progress = False
    if not detector:
        from mmpretrain.utils import progress

        progress.disable_progress_bar = True
    classes = inferencer.model.dataset_meta['classes'] if detector else inferencer.classes
    results, skipped = [], []
    seconds = 0.0
    for path, target in track(targets.items(), 'Pictures', len(targets), disable=len(targets) < 5):
        # OpenCV returns half a picture of a file that is cut off.
        image = None if (defect := find_defect(str(path))) else cv2.imread(str(path))
        if image is None:
            skipped.append(dict(image=str(path), reason=defect or 'OpenCV cannot read it'))
            print(f'skipped {path}: {skipped[-1]["reason"]}', file=sys.stderr)
            continue
        start = time.perf_counter()
        output = inferencer(image, return_datasamples=True)
        sample = (output['predictions'] if detector else output)[0]
        seconds += time.perf_counter() - start
        result = describe(sample, classes, args.score_thr)
        results.append(dict(image=str(path), width=image.shape[1], height=image.shape[0], **result))
        if args.out:
            draw(inferencer, image, sample, args.out / target, args.score_thr)
    if args.json:
        content = dict(config=args.config, weights=args.weights, classes=classes, results=results, skipped=skipped)
        write_json(args.json, content)

    if not (args.json or args.out):
        for result in results:
            found = result.get('detections', result.get('classes', [])[:1])
            names = [f'{item["class"]} {item["score"]:.2f}' for item in found]
            print(f'{result["image"]}: {", ".join(names) or "nothing found"}')
    objects = f', {sum(len(r["detections"]) for r in results)} objects' if detector else ''
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
