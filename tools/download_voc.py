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

    from menet_mm.datasets.download import ARCHIVES, download, is_unpacked, unpack  # torchvision

    args.root.mkdir(parents=True, exist_ok=True)
    for year in args.years:
        folder = args.root / 'VOCdevkit' / f'VOC{year}'
        for archive in ARCHIVES[year]:
            if is_unpacked(folder, archive['split'], archive['pictures']):
                print(f'{folder} has all {archive["pictures"]} pictures of {archive["split"]} already')
                continue
            path = args.root / archive['filename']
            download(archive['url'], path, archive['md5'])
            print(f'unpacking {path} ...')
            unpack(path, args.root)
            if not args.keep:
                path.unlink()
        print(f'{folder} is ready')


if __name__ == '__main__':
    run(main)
