"""Detect objects in pictures or a video, or classify them, with a trained or an exported model: drawings, JSON, a summary."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from menet_mm.apis.predict import predict_folder
from menet_mm.apis.video import is_video, predict_video, without_password
from menet_mm.errors import InputError
from menet_mm.utils.cli import add_tile_arguments, add_trust_argument, check_tile_arguments, run
from menet_mm.utils.tiles import tiled

IMAGES = 'files, folders (searched to the bottom) or globs; or one video, number of a camera or address of a stream'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', nargs='+', metavar='IMAGES', help=IMAGES)
    parser.add_argument('--config', help='config file, or a name such as ssd_menet228_voc; with --weights')
    parser.add_argument('--weights', help='checkpoint: a file or an http(s) address')
    parser.add_argument(
        '--model', metavar='FILE', help='exported model (.onnx, .xml, .param) instead; needs its runtime alone'
    )
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='draw the results into this folder; of a video: .mp4, .avi, .webm'
    )
    parser.add_argument(
        '--json', type=Path, metavar='FILE', help='write the results into this file; of a video: a line a frame'
    )
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='leave out detections below this score (default: 0.3)'
    )
    parser.add_argument('--every', type=int, metavar='N', help='of a video take every N-th frame (default: 1)')
    add_tile_arguments(parser)
    parser.add_argument('--device', help='torch device; a GPU if there is one')
    add_trust_argument(parser)
    return parser.parse_args()


def load(args: argparse.Namespace) -> tuple[Callable, list[str] | None]:
    """Make the function from a picture to arrays, and tell the classes."""
    if args.model:
        from menet_mm.deploy import Runner

        runner = Runner(args.model)
        predict, classes = (lambda image: runner(image, args.score_thr)[0]), runner.classes
    else:
        from menet_mm.apis.inference import get_predictor  # torch and the MM libraries

        predict, classes = get_predictor(args.config, args.weights, args.device, args.trust_checkpoint)
    return predict if args.tile is None else tiled(predict, args.tile, args.overlap), classes


def infer_video(args: argparse.Namespace) -> None:
    """Run a model over a video and print a summary: behind lines of JSON on stdout, on stderr."""
    source = args.images[0]
    done = predict_video(lambda: load(args), source, args.out, args.json, args.score_thr, args.every or 1)
    frames, seconds, source = done['frames'], done['seconds'], without_password(source)
    print(
        f'{frames} frames, {done["objects"]} objects, {frames / max(seconds, 1e-9):.1f} frames a second'
        f' (the model alone: {frames / max(done["model_seconds"], 1e-9):.1f})'
        + (f'; {done["dropped"]} left out, since the model is slower than {source}' if done['dropped'] else '')
        + (f'; drawn in {args.out}' if args.out else '')
        + (f'; results in {args.json}' if args.json else ''),
        file=sys.stdout if args.out or args.json else sys.stderr,
    )
    if done['cut_off']:
        what = 'gave no more frames' if done['count'] is None else f'should have {done["count"]} frames'
        sys.exit(f'{source} {what}, but ended after {done["read"]}: it is damaged, cut off or lost')


def main() -> None:
    args = parse_args()
    if args.model and (args.config or args.weights or args.device or args.trust_checkpoint):
        raise InputError('--model is an exported model, which needs no --config, --weights, --device or trust')
    if not args.model and not (args.config and args.weights):
        raise InputError('give --config and --weights of a trained model, or --model of an exported one')
    check_tile_arguments(args)
    sys.stdout.reconfigure(errors='backslashreplace')  # names of files and classes may be anything
    if args.every is not None and args.every < 1:
        raise InputError(f'--every must be 1 or more, but got {args.every}')
    if any(map(is_video, args.images)):
        if args.images[1:]:
            raise InputError('a video, camera or stream must be given alone: run the command once for each')
        return infer_video(args)
    if args.every is not None:
        raise InputError('--every is of videos: leave it out')
    source = dict(model=args.model) if args.model else dict(config=args.config, weights=args.weights)
    done = predict_folder(lambda: load(args), args.images, args.out, args.json, args.score_thr, **source)

    results, skipped = done['results'], done['skipped']
    for result in [] if args.json or args.out else results:
        found = result.get('detections', result.get('classes', [])[:1])
        names = ', '.join(f'{item["class"]} {item["score"]:.2f}' for item in found)
        print(f'{result["image"]}: {names or "nothing found"}')
    counts = [len(result['detections']) for result in results if 'detections' in result]
    print(
        f'{len(results)} pictures'
        + (f', {sum(counts)} objects' if counts else '')
        + f', {1000 * done["seconds"] / max(len(results), 1):.0f} ms a picture; {len(skipped)} skipped'
        + (f', {done["others"]} other files left alone' if done['others'] else '')
        + (f'; drawn in {args.out}' if args.out else '')
        + (f'; results in {args.json}' if args.json else '')
    )
    sys.exit(1 if skipped else 0)


if __name__ == '__main__':
    run(main)
