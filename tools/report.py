"""Write one page of what a detector or a classifier gets right and wrong, or of several runs beside each other.

The first form takes what tools/test.py --out wrote and writes report.html, tables and pictures into the work dir. The second one
takes work dirs and writes one page.
"""

import argparse
import sys
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_arguments, load_config, run

USAGE = '%(prog)s [options] CONFIG PREDICTIONS\n       %(prog)s --compare DIR DIR ... [--out FILE]'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, usage=USAGE)
    parser.add_argument(
        '--compare', nargs='+', type=Path, metavar='DIR', help='work dirs of runs; the first one is the reference'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='page of --compare (default: comparison.html)')
    if '--compare' not in sys.argv:
        add_config_arguments(parser)
        parser.add_argument('predictions', type=Path, help='what tools/test.py wrote with --out')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.compare:
        from menet_mm.evaluation.comparison import write_comparison

        write_comparison(args.compare, args.out or Path('comparison.html'))
        return
    if args.out:
        raise InputError(f'--out goes with --compare: the report goes to --work-dir, so leave out --out {args.out}')
    cfg = load_config(args)
    if cfg.get('default_scope') not in ('mmdet', 'mmpretrain'):
        raise InputError(
            f'{args.config} is neither a detector nor a classifier: give a config whose default_scope is mmdet or mmpretrain'
        )
    if not args.predictions.is_file():
        raise InputError(
            f'no predictions {args.predictions}: write them with `tools/test.py ... --out {args.predictions}`'
        )

    from menet_mm.engine.launch import check_data

    if cfg.default_scope == 'mmdet':
        from menet_mm.evaluation.report import write_report
    else:
        from menet_mm.evaluation.classifier import write_report
    check_data(cfg, 'test')
    write_report(cfg, args.predictions, Path(cfg.work_dir))


if __name__ == '__main__':
    run(main)
