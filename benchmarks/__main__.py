"""Measure speed side by side: inference by default, --train for training, --data for the input pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmengine.config import Config
from rich.console import Console

from benchmarks.worker import Contestant
from menet_mm.errors import InputError
from menet_mm.utils.cli import run

if TYPE_CHECKING:
    import pandas as pd

RUNTIMES = ['torch', 'onnxruntime', 'openvino', 'ncnn']
#: What each kind of measurement has no use for.
UNUSED = {
    'inference': [],
    'training': ['runtimes', 'folder'],
    'data': ['networks', 'runtimes', 'precisions', 'threads', 'batch', 'compile', 'folder'],
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--train', action='store_true', help='training of a classifier instead of inference')
    kind.add_argument('--data', action='store_true', help="SSD's training pipeline beside MMDetection's instead")
    parser.add_argument(
        '--networks',
        nargs='+',
        metavar='CONFIG',
        help='names of configs, by default menet228_in1k shufflenet1x_in1k mobilenet050_in1k, for training the first of them; '
        'the ratios are to the first one, as pytorchcv has it where it does',
    )
    parser.add_argument('--runtimes', nargs='+', choices=RUNTIMES, help='all by default')
    parser.add_argument('--precisions', nargs='+', choices=['fp32', 'bf16', 'int8'], help='fp32 by default')
    parser.add_argument('--threads', type=int, help='threads of each contestant: 1')
    parser.add_argument('--batch', type=int, help='pictures in a batch: 1, for training 64')
    parser.add_argument('--rounds', type=int, help='measured rounds: 15, for training and data 5')
    parser.add_argument('--compile', action='store_true', help='with torch.compile as well, which takes a minute each')
    parser.add_argument('--folder', type=Path, help='where exported models are kept: work_dirs/benchmark')
    parser.add_argument('--out', type=Path, metavar='CSV', help='rows: work_dirs/benchmark/<kind>.csv')
    args = parser.parse_args()
    args.kind = 'training' if args.train else 'data' if args.data else 'inference'
    for name in UNUSED[args.kind]:
        if getattr(args, name):
            raise InputError(f'--{name} means nothing for {args.kind}: leave it out')
    for name in ('threads', 'batch', 'rounds'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError('--threads, --batch and --rounds must be at least 1')
    args.networks = (
        args.networks or ['menet228_in1k', 'shufflenet1x_in1k', 'mobilenet050_in1k'][: 1 if args.train else 3]
    )
    args.runtimes = args.runtimes or RUNTIMES
    args.precisions = args.precisions or ['fp32']
    args.threads = args.threads or 1
    args.batch = args.batch or (64 if args.train else 1)
    args.rounds = args.rounds or (15 if args.kind == 'inference' else 5)
    args.folder = args.folder or Path('work_dirs/benchmark')
    args.out = args.out or Path(f'work_dirs/benchmark/{args.kind}.csv')
    return args


def inference(args: argparse.Namespace) -> list[Contestant]:
    """Every network as it is and in our form, in every runtime and precision that the runtime has."""
    found = []
    for network in args.networks:

        def add(source: str, runtime: str, form: str, precision: str = 'fp32', network: str = network) -> None:
            found.append(Contestant(network, source, runtime, form, precision, args.batch, args.threads))

        theirs = network.endswith('_in1k')  # pytorchcv has no detectors with these backbones
        plain = 'pytorchcv' if theirs else 'menet_mm'
        if 'onnxruntime' in args.runtimes:
            add(plain, 'onnxruntime', 'default')
            add(plain, 'onnxruntime', 'plain')
        for runtime in args.runtimes:
            if runtime != 'onnxruntime':
                add(plain, runtime, 'plain')
            for precision in args.precisions:
                if (precision == 'int8' and runtime in ('torch', 'ncnn')) or (
                    precision == 'bf16' and runtime in ('onnxruntime', 'ncnn')
                ):
                    continue
                add('menet_mm', runtime, 'deploy', precision)
        if args.compile and 'torch' in args.runtimes:
            add('menet_mm', 'torch', 'compiled')
    return found


def training(args: argparse.Namespace) -> list[Contestant]:
    """pytorchcv's network trained plainly, and ours as tools/train.py does and with more."""
    found = []
    for network in args.networks:
        if not network.endswith(('_in1k', '_tiny100')):
            raise InputError(f'--train measures classifiers, such as menet228_in1k, but got {network}')
        forms = ['plain', 'default', 'channels_last', *(['compiled'] if args.compile else [])]
        # pytorchcv's networks take 224 px alone.
        ways = [('pytorchcv', 'plain', 'fp32')] if network.endswith('_in1k') else []
        ways += [('menet_mm', form, 'fp32') for form in forms]
        ways += [('menet_mm', 'default', 'bf16')] if 'bf16' in args.precisions else []
        found += [
            Contestant(network, source, 'torch', form, precision, args.batch, args.threads, training=True)
            for source, form, precision in ways
        ]
    return found


def pipelines(rounds: int) -> pd.DataFrame:
    """SSD's training pipeline, ours and MMDetection's own, on VOC."""
    import pandas as pd

    from benchmarks.race import MMDET_SSD_PIPELINE, machine, measure_pipelines

    cfg = Config.fromfile('configs/ssd_menet228_voc12.py')
    rows = measure_pipelines(
        dict(mmdet=MMDET_SSD_PIPELINE, menet_mm=cfg.train_pipeline), cfg.train_dataloader.dataset, 300, rounds
    )
    return pd.DataFrame([dict(row, **machine()) for row in rows])


def main() -> None:
    args = parse_args()
    console = Console()
    if args.data:
        rows = pipelines(args.rounds)
        shown = ['pipeline', 'images_per_second', 'low', 'high', 'ratio']
    else:
        contestants = training(args) if args.train else inference(args)

        from benchmarks.race import race

        with console.status('starting') as status:
            rows = race(contestants, args.folder, args.rounds, progress=status.update)
        shown = ['network', 'source', 'runtime', 'form', 'precision', 'milliseconds', 'low', 'high', 'ratio', 'peak_mb']
    args.out.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(args.out, index=False)
    print(rows[shown].to_string(index=False))
    print(f'rows: {args.out}')
    if args.kind == 'inference':
        from benchmarks.race import plot

        plot(rows, args.out.with_suffix('.png'))
        print(f'plot: {args.out.with_suffix(".png")}')


if __name__ == '__main__':
    run(main)
