"""Fetch and unpack PASCAL VOC 2007 (0.9 GB), and VOC 2012 (2 GB) if asked, into data/VOCdevkit."""

import argparse
from pathlib import Path

from menet_mm.utils.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--root', type=Path, default='data', help='folder in which VOCdevkit will stand (default: data)'
    )
    parser.add_argument(
        '--years', nargs='+', choices=['2007', '2012'], default=['2007'], help='which years to fetch (default: 2007)'
    )
    parser.add_argument('--keep', action='store_true', help='keep the archives after unpacking')
    args = parser.parse_args()

    from menet_mm.datasets.download import download_voc  # torchvision

    for year in args.years:
        download_voc(args.root, year, args.keep)


if __name__ == '__main__':
    run(main)
