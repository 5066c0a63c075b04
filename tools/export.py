"""Write a trained model for ONNX Runtime, OpenVINO or ncnn, and check the written file against PyTorch."""

import argparse
from pathlib import Path

import numpy as np

from menet_mm.datasets.shapes import draw
from menet_mm.deploy.description import description_path
from menet_mm.deploy.runtimes import RUNTIMES
from menet_mm.errors import InputError
from menet_mm.utils.cli import add_trust_argument, run
from menet_mm.utils.pictures import find_images, read_image

FORMATS = {runtime.format: runtime for runtime in RUNTIMES.values()}


def that_can(ability: str) -> str:
    """Name the formats of the runtimes that can do something."""
    return ' and '.join(name for name, runtime in FORMATS.items() if getattr(runtime, ability))


def parse_args() -> argparse.Namespace:
    suffixes = ' or '.join(runtime.suffix for runtime in FORMATS.values())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config of a classifier or an SSD detector: a file or a name')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--to', required=True, choices=list(FORMATS), help='kind of the model to write')
    parser.add_argument('--out', required=True, type=Path, metavar='PATH', help=f'file ending in {suffixes}')
    parser.add_argument('--int8', action='store_true', help=f'quantize to 8 bit, with {that_can("int8")}')
    parser.add_argument('--calib', metavar='DIR', help='pictures to calibrate --int8 on')
    parser.add_argument('--calib-images', type=int, default=300, metavar='N', help='how many of them, evenly spread')
    parser.add_argument(
        '--images', metavar='DIR', help='pictures to compare with PyTorch on; generated ones by default'
    )
    parser.add_argument(
        '--dynamic-batch', action='store_true', help=f'let the batch size vary, with {that_can("dynamic_batch")}'
    )
    parser.add_argument(
        '--block',
        type=int,
        choices=[8, 16],  # menet_mm.deploy.forms.BLOCKS, which comes with torch
        help=f'with {that_can("block")}: channels in a block, which the processor decides that will run the model: 16 with '
        "AVX-512 and on ARM, 8 on other x86; this machine's by default",
    )
    add_trust_argument(parser)
    return parser.parse_args()


def load_images(folder: str, limit: int) -> list[np.ndarray]:
    """Read up to ``limit`` pictures of a folder, evenly spread over it."""
    paths = list(find_images([folder])[0])
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, min(limit, len(paths))).astype(int)]
    images = []
    for path in chosen:
        image, defect = read_image(path)
        if defect:
            raise InputError(f'{path} cannot be used ({defect}): take it out of {folder}')
        images.append(image)
    return images


def main() -> None:
    args = parse_args()
    runtime = FORMATS[args.to]
    if args.out.suffix != runtime.suffix:
        raise InputError(f'--out {args.out} must end in {runtime.suffix} for --to {args.to}')
    if args.block and not runtime.block:
        raise InputError(f'--block is for --to {that_can("block")}: leave it out for {args.to}')
    if args.calib and not args.int8:
        raise InputError('--calib is for --int8: give both or none')
    if args.calib_images < 1:
        raise InputError('--calib-images must be at least 1')
    calibration = load_images(args.calib, args.calib_images) if args.calib else []
    if args.images:
        images = load_images(args.images, 20)
    else:
        rng = np.random.default_rng(0)
        images = [draw(rng, held_out=True)[0] for _ in range(8)]
    from menet_mm.deploy import export  # torch and the MM libraries

    found = export(
        args.config,
        args.checkpoint,
        args.out,
        images,
        int8=args.int8,
        calibration=calibration,
        dynamic_batch=args.dynamic_batch,
        block=args.block,
        trust_checkpoint=args.trust_checkpoint,
        progress=lambda line: print(f'{line} ...', flush=True),
    )
    files = [*runtime.files(args.out), description_path(args.out)]
    size = sum(path.stat().st_size for path in files) / 1e6
    boxes = f', boxes by {found.boxes:.1e} px' if found.boxes else ''
    print(
        f'{", ".join(map(str, files))} ({size:.1f} MB); scores differ from PyTorch by up to {found.scores:.1e}{boxes} '
        f'on {len(images)} pictures'
    )


if __name__ == '__main__':
    run(main)
