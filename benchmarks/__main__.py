"""Measure speed side by side: inference by default, --train for training, --data for the input pipeline."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import lineup
from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.config import find_config
from menet_mm.utils.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

    from benchmarks.contestant import Contestant

#: All ratios are to the first one's, the default export of the paper's reference network.
NETWORKS = (
    'menet228_in1k',
    'shufflenet1x_in1k',
    'menet256_in1k',
    'menet108_in1k',
    'menet128_in1k',
    'shufflenet050_in1k',
    'mobilenet050_in1k',
    'mobilenet025_in1k',
)
FOLDER = Path('work_dirs/benchmark')
#: Options that a kind of measurement does not use.
UNUSED = {
    'inference': [],
    'passes': ['precisions', 'compile'],
    'training': ['runtimes', 'folder'],
    'training_passes': ['runtimes', 'folder', 'precisions', 'compile'],
    'data': ['networks', 'runtimes', 'precisions', 'threads', 'batch', 'compile', 'folder', 'passes'],
}


def make_parser() -> argparse.ArgumentParser:
    """Describe the arguments. Nothing has a default yet, so that options without a use can be refused."""
    parser = argparse.ArgumentParser(description=__doc__, prog='python -m benchmarks')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--train', action='store_true', help='training of a classifier instead of inference')
    kind.add_argument('--data', action='store_true', help="SSD's training pipeline beside MMDetection's instead")
    parser.add_argument(
        '--passes',
        action='store_true',
        help='our form, and the same without each of its passes; the ratios are to the whole form. '
        'With --train: without each part of what makes a CPU train faster',
    )
    parser.add_argument(
        '--networks',
        nargs='+',
        metavar='CONFIG',
        help=f'names of configs; by default {" ".join(NETWORKS)}, for training the first of them; '
        'the ratios are to the first one, as pytorchcv has it where it does',
    )
    parser.add_argument('--runtimes', nargs='+', choices=lineup.RUNTIME_NAMES, help='all by default')
    parser.add_argument('--precisions', nargs='+', choices=['fp32', 'bf16', 'int8'], help='fp32 by default')
    parser.add_argument('--threads', type=int, help='threads of each contestant: 1')
    parser.add_argument(
        '--batch',
        type=int,
        help='pictures in a batch: 1, for training 64; a runtime that takes one at a time runs them one after the other',
    )
    parser.add_argument('--rounds', type=int, help='measured rounds: 15, for training and data 5')
    parser.add_argument('--compile', action='store_true', help='with torch.compile as well, which takes a minute each')
    parser.add_argument('--folder', type=Path, help=f'where exported models are kept: {FOLDER}')
    parser.add_argument('--out', type=Path, metavar='CSV', help=f'rows: {FOLDER}/<kind>.csv')
    return parser


def parse_args() -> argparse.Namespace:
    """Read the arguments, check them and fill in the defaults.

    Raises:
        InputError: if an option has no use or a wrong value.
    """
    args = make_parser().parse_args()
    args.kind = 'data' if args.data else 'training' if args.train else 'passes' if args.passes else 'inference'
    if args.train and args.passes:
        args.kind = 'training_passes'
    for name in UNUSED[args.kind]:
        if getattr(args, name):
            raise InputError(f'--{name} means nothing for {args.kind.replace("_", " ")}: leave it out')
    for name in ('threads', 'batch', 'rounds'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError('--threads, --batch and --rounds must be at least 1')
    args.networks = args.networks or list(NETWORKS[: 1 if args.train else None])
    for network in args.networks:
        name = find_config(network).stem
        if args.train and not name.endswith(('_in1k', '_tiny100')):
            raise InputError(f'--train measures classifiers, such as menet228_in1k, but got {network}')
    args.runtimes = args.runtimes or list(lineup.RUNTIME_NAMES)
    args.precisions = args.precisions or ['fp32']
    args.threads = args.threads or 1
    args.batch = args.batch or (64 if args.train else 1)
    args.rounds = args.rounds or (5 if args.train or args.data else 15)
    args.folder = args.folder or FOLDER
    args.out = args.out or FOLDER / f'{args.kind}.csv'
    return args


def contestants_of(args: argparse.Namespace) -> list[Contestant]:
    """Who takes part in what was asked for."""
    setting = dict(batch=args.batch, threads=args.threads)
    if args.kind == 'passes':
        return lineup.passes(args.networks, args.runtimes, **setting)
    if args.kind == 'training_passes':
        return lineup.training_passes(args.networks, **setting)
    if args.kind == 'training':
        return lineup.training(args.networks, args.precisions, args.compile, **setting)
    return lineup.inference(args.networks, args.runtimes, args.precisions, args.compile, **setting)


def measure(args: argparse.Namespace, progress: Callable[[str], None]) -> pd.DataFrame:
    """Measure what was asked for; the libraries load here, after the arguments were checked."""
    if args.kind == 'data':
        import pandas as pd

        from benchmarks.build import LIBRARIES
        from benchmarks.machine import describe_machine
        from benchmarks.pipelines import compare_with_mmdet

        rows = compare_with_mmdet(args.rounds)
        return pd.DataFrame([dict(row, **describe_machine(LIBRARIES)) for row in rows])

    from benchmarks.race import race

    return race(contestants_of(args), args.folder, args.rounds, progress)


def main() -> None:
    args = parse_args()

    from rich.console import Console

    with Console().status('starting') as status:
        rows = measure(args, status.update)
    with atomic_path(args.out) as partial:
        rows.to_csv(partial, index=False)

    from benchmarks.tables import to_markdown

    print(to_markdown(args.out))
    print(f'rows: {args.out}')
    if args.kind == 'inference':
        from benchmarks.plot import plot

        plot(rows, args.out.with_suffix('.png'))
        print(f'plot: {args.out.with_suffix(".png")}')


if __name__ == '__main__':
    run(main)
