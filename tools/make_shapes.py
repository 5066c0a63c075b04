"""Generate the miniature detection set of the quickstart: shapes on cluttered backgrounds, in VOC and COCO form."""

import argparse

from menet_mm.datasets.shapes import CLASSES, make_shapes
from menet_mm.utils.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('--out', default='data/shapes', help='folder to write')
    parser.add_argument('--train', type=int, default=2000, help='pictures for training')
    parser.add_argument('--test', type=int, default=300, help='held-out pictures')
    parser.add_argument('--seed', type=int, default=0, help='of everything random')
    args = parser.parse_args()
    out = make_shapes(args.out, args.train, args.test, args.seed)
    print(f'{out}: {args.train} training and {args.test} held-out pictures of {", ".join(CLASSES)}')


if __name__ == '__main__':
    run(main)
