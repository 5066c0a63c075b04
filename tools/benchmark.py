"""Measure speed side by side: inference by default, --train for training, --data for the input pipeline."""

import argparse
from pathlib import Path

import pandas as pd
from mmengine.config import Config
from rich.console import Console

from menet_mm.benchmark import MMDET_SSD_PIPELINE, Contestant, machine, measure_pipelines, plot, race
from menet_mm.cli import run
from menet_mm.errors import InputError

RESULTS = Path('docs/benchmarks')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--train', action='store_true', help='training of a classifier instead of inference')
    kind.add_argument('--data', action='store_true', help="SSD's training pipeline beside MMDetection's instead")
    parser.add_argument(
        '--networks',
        nargs='+',
        default=['menet228_in1k', 'shufflenet1x_in1k', 'mobilenet050_in1k'],
        metavar='CONFIG',
        help='names of configs; the ratios are to the first one, as pytorchcv has it where it does',
    )
    parser.add_argument('--runtimes', nargs='+', default=['torch', 'onnxruntime', 'openvino', 'ncnn'])
    parser.add_argument('--precisions', nargs='+', default=['fp32'], choices=['fp32', 'bf16', 'int8'])
    parser.add_argument('--threads', type=int, default=1, help='threads of each contestant')
    parser.add_argument('--batch', type=int, help='pictures in a batch: 1, for training 64')
    parser.add_argument('--rounds', type=int, help='measured rounds: 15, for training and data 5')
    parser.add_argument('--compile', action='store_true', help='with torch.compile as well, which takes a minute each')
    parser.add_argument(
        '--folder', type=Path, default=Path('work_dirs/benchmark'), help='where exported models are kept'
    )
    parser.add_argument('--out', type=Path, metavar='CSV', help='rows; docs/benchmarks/<kind>.csv by default')
    return parser.parse_args()


def inference(args: argparse.Namespace) -> list[Contestant]:
    """Every network as it is and in our form, in every runtime and precision that the runtime has."""
    found = []
    for network in args.networks:

        def add(source: str, runtime: str, form: str, precision: str = 'fp32', network: str = network) -> None:
            found.append(Contestant(network, source, runtime, form, precision, args.batch or 1, args.threads))

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
        if not network.endswith('_in1k'):
            raise InputError(f'--train measures classifiers, such as menet228_in1k, but got {network}')
        forms = ['plain', 'channels_last', 'keep_memory', 'default', 'amp', *(['compiled'] if args.compile else [])]
        found += [
            Contestant(network, source, 'torch', form, 'fp32', args.batch or 64, args.threads, training=True)
            for source, form in [('pytorchcv', 'plain'), *(('menet_mm', form) for form in forms)]
        ]
    return found


def pipelines(rounds: int) -> pd.DataFrame:
    """SSD's training pipeline, ours and MMDetection's own, on VOC."""
    cfg = Config.fromfile('configs/ssd_menet228_voc12.py')
    rows = measure_pipelines(
        dict(mmdet=MMDET_SSD_PIPELINE, menet_mm=cfg.train_pipeline), cfg.train_dataloader.dataset, 300, rounds
    )
    return pd.DataFrame([dict(row, **machine()) for row in rows])


def main() -> None:
    args = parse_args()
    if min(args.threads, args.batch or 1, args.rounds or 1) < 1:
        raise InputError('--threads, --batch and --rounds must be at least 1')
    unknown = set(args.runtimes) - {'torch', 'onnxruntime', 'openvino', 'ncnn'}
    if unknown:
        raise InputError(f'unknown runtime {", ".join(unknown)}: choose of torch, onnxruntime, openvino, ncnn')
    kind = 'training' if args.train else 'data' if args.data else 'inference'
    out = args.out or RESULTS / f'{kind}.csv'
    console = Console()
    if args.data:
        rows = pipelines(args.rounds or 5)
        shown = ['pipeline', 'images_per_second', 'low', 'high', 'ratio']
    else:
        contestants = training(args) if args.train else inference(args)
        with console.status('starting') as status:
            rows = race(contestants, args.folder, args.rounds or (5 if args.train else 15), progress=status.update)
        shown = ['network', 'source', 'runtime', 'form', 'precision', 'milliseconds', 'low', 'high', 'ratio', 'peak_mb']
    out.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(out, index=False)
    print(rows[shown].to_string(index=False))
    print(f'rows: {out}')
    if kind == 'inference':
        plot(rows, out.with_suffix('.png'))
        print(f'plot: {out.with_suffix(".png")}')


if __name__ == '__main__':
    run(main)
