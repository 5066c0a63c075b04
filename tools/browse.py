"""Draw pictures of a config's data with their labels into one sheet: as they are, and as the network gets them."""

import argparse
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_and_options, run
from menet_mm.utils.config import read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_and_options(parser)
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='train', help='of the data (default: train)'
    )
    parser.add_argument('--number', type=int, default=16, help='of pictures, evenly over the split (default: 16)')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='the sheet, .jpg or .png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.out.suffix.lower() not in ('.jpg', '.jpeg', '.png') or args.out.is_dir():
        raise InputError(f'--out {args.out} must be a file that ends in .jpg or .png')
    if args.number < 1:
        raise InputError(f'--number must be at least 1, but got {args.number}')
    cfg = read_config(args.config, args.cfg_options)
    from menet_mm.evaluation.browse import draw_data  # torch and the MM libraries

    done = draw_data(cfg, args.split, args.number, args.out)
    print(
        f'{done["pictures"]} of {done["all"]} pictures of {args.split}, {done["before"]} labels in the files, {done["after"]} '
        f'as the network gets them; drawn in {args.out}, in pairs: as it is, and as the network gets it'
    )


if __name__ == '__main__':
    run(main)
