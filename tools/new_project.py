"""From a folder of labelled pictures to a small project: a config that fits them, lists of pictures, the commands that follow.

Formats: Pascal VOC, COCO JSON, YOLO, LabelMe, a CSV file of boxes; for a classifier, a folder for each class. The pictures stay
where they are.
"""

import argparse
import shlex
import sys
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', type=Path, metavar='DATA', help='folder of pictures and labels')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='new folder for the project')
    parser.add_argument(
        '--arch', choices=['menet108', 'menet128'], default='menet128', help='network (default: menet128)'
    )
    parser.add_argument(
        '--format',
        choices=['auto', 'voc', 'coco', 'yolo', 'labelme', 'csv', 'folders'],  # menet_mm.datasets.reading.FORMATS
        default='auto',
        help='of the labels; recognised by default',
    )
    parser.add_argument(
        '--val',
        type=float,
        default=0.2,
        metavar='PART',
        help='of the pictures, to validate on, if the data has no splits',
    )
    parser.add_argument('--weights', type=Path, metavar='FILE', help='ImageNet weights, as docs/weights.md makes them')
    parser.add_argument('--seed', type=int, default=0, help='of the split (default: 0)')
    parser.add_argument(
        '--rename', nargs='+', default=[], metavar='OLD=NEW', help='other names for classes; several may become one'
    )
    args = parser.parse_args()
    rename = dict(pair.partition('=')[::2] for pair in args.rename)
    if not all(rename) or not all(rename.values()) or len(rename) < len(args.rename):
        raise InputError(f'--rename takes pairs such as Helmet=helmet, each name once, but got {" ".join(args.rename)}')
    if not args.data.is_dir():
        raise InputError(f'no data set: {args.data} is no folder; give the folder that pictures and labels lie in')

    from menet_mm.projects.project import make_project

    sys.stdout.reconfigure(errors='backslashreplace')  # names of files and classes may be anything
    project = make_project(args.data, args.out, args.arch, args.format, args.val, args.weights, args.seed, rename)
    print('\n'.join(project.lines))
    config, work = project.config, Path(project.checkpoint).parent
    exported = work / f'{config.stem}.onnx'
    commands = [
        ['train.py', config],
        ['test.py', config, project.checkpoint, '--out', work / 'predictions.pkl'],
        ['export.py', config, project.checkpoint, '--to', 'onnx', '--out', exported],
        ['report.py', config, work / 'predictions.pkl'],
        ['infer.py', 'PICTURES', '--model', exported, '--out', 'drawn'],
    ]
    print(f'{args.out} is written. What follows:')
    for tool, *words in commands:
        quoted = [word if word == project.checkpoint else shlex.quote(str(word)) for word in words]
        print(' '.join(['  python', shlex.quote(str(Path(sys.argv[0]).with_name(tool))), *quoted]))


if __name__ == '__main__':
    run(main)
