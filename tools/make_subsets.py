"""Make the subsets of the studies from the official data and the lists of ids in studies/data.

Pictures of tiny_imagenet_100 are copies. Those of voc_subset are scaled and encoded as JPEG anew, so their pixels, and with
them figures, differ a little from those measured.
"""

import argparse
from pathlib import Path

from menet_mm.utils.cli import run
from studies.subsets import SUBSETS

LISTS = Path(__file__).resolve().parent.parent / 'studies' / 'data'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('subset', choices=list(SUBSETS), help='which one')
    parser.add_argument(
        'source',
        type=Path,
        help='tiny-imagenet-200.zip or the folder it unpacks into; for voc_subset an unpacked VOCdevkit with VOC2007, '
        'VOC2012 or both',
    )
    defaults = ', '.join(folder for _, folder in SUBSETS.values())
    parser.add_argument('--out', type=Path, help=f'folder to make (default, by subset: {defaults})')
    parser.add_argument('--lists', type=Path, default=LISTS, help='folder of lists of ids (default: studies/data)')
    args = parser.parse_args()
    make, folder = SUBSETS[args.subset]
    out = args.out or Path(folder)
    counts = make(args.source, args.lists, out)
    print(f'{out}: {", ".join(f"{count} pictures of {split}" for split, count in counts.items())}')


if __name__ == '__main__':
    run(main)
