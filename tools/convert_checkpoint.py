"""Convert a classifier of the MENet authors or of pytorchcv into one for MMPretrain and for `init_cfg`."""

import argparse
import hashlib
import tempfile
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import run


def checksum(path: Path) -> str:
    if not path.is_file():
        raise InputError(f'no checkpoint {path}: give a file that exists or an http(s) address')
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('src', metavar='SRC', help='checkpoint: a file or an http(s) address')
    parser.add_argument('dst', metavar='DST', type=Path, help='file to write, .pth or .safetensors')
    parser.add_argument('--sha256', help='refuse SRC unless it has this SHA-256')
    args = parser.parse_args()

    from menet_mm.checkpoints import convert, fetch, read_checkpoint, write_checkpoint
    from menet_mm.checkpoints.convert import check_ending

    check_ending(args.dst)
    with tempfile.TemporaryDirectory() as folder:
        remote = args.src.startswith(('http://', 'https://'))
        path = fetch(args.src, folder) if remote else Path(args.src).expanduser()
        sha256 = checksum(path)
        if args.sha256 and args.sha256.lower() != sha256:
            raise InputError(f'{args.src} is not the file that was expected: its SHA-256 is {sha256}')
        checkpoint = read_checkpoint(path)
    try:
        converted = convert(checkpoint)
    except InputError as error:
        raise InputError(f'{args.src}: {error}') from None
    state, layout, backbone, arch = converted
    source = args.src if remote else path.name
    meta = dict(source=source, layout=layout, backbone=backbone, variant=arch, sha256=sha256)
    if 'dataset_meta' in (given := checkpoint.get('meta', {})):
        meta['dataset_meta'] = given['dataset_meta']  # names of the classes, without which ImageNet's are taken
    write_checkpoint(args.dst, state, meta)
    classes = len(state['head.fc.bias'])
    print(f'{layout} {backbone} {arch} with {classes} classes, SHA-256 {sha256} -> {args.dst}')


if __name__ == '__main__':
    run(main)
