"""Check a labelled set, given as a config or as the folder of the data: pictures, annotations, classes, boxes, splits.

Prints what it finds, one line for each kind, and ends with status 1 if there are errors.
"""

import argparse
import sys
from pathlib import Path

from menet_mm.utils.cli import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('data', help='config file, the name of one, or a folder of pictures and labels')
    parser.add_argument(
        '--format', default='auto', help='of the folder: auto, voc, coco, yolo, labelme, csv or folders (of classes)'
    )
    parser.add_argument('--html', type=Path, metavar='FILE', help='write a page with pictures of the worst cases')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all that was found')
    parser.add_argument(
        '--fix', action='store_true', help='write lists without what has errors beside those that are there'
    )
    args = parser.parse_args()

    from menet_mm.datasets.doctor.checkup import check_config, check_folder
    from menet_mm.datasets.doctor.mend import write_clean_lists
    from menet_mm.datasets.doctor.page import summary, write_json, write_page

    is_folder = Path(args.data).is_dir()
    exam, findings = check_folder(Path(args.data), args.format) if is_folder else check_config(args.data)
    lines = summary(exam, findings)
    if args.html:
        write_page(args.html, f'Check of {args.data}', exam, findings)
        lines.append(f'page: {args.html}')
    if args.json:
        write_json(args.json, exam, findings)
        lines.append(f'all cases: {args.json}')
    print('\n'.join(lines))
    if args.fix:
        print('\n'.join(write_clean_lists(exam, findings)))
    sys.exit(any(finding.level == 'error' for finding in findings))


if __name__ == '__main__':
    run(main)
