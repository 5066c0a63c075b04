"""Make the subsets of the studies from the official data and the lists of ids in studies/data.

Pictures of tiny_imagenet_100 are copies. Those of voc_subset are scaled and encoded as JPEG again, so their pixels, and with
them figures, differ a little from those measured.
"""

# The lists hold ids alone: pictures, boxes and names come from the official data, which everyone gets under its own terms.
# A copy of it may come from anywhere, so names in it become paths only if they have the expected form.

from __future__ import annotations

import argparse
import os
import re
import xml.etree.ElementTree as ET
import zipfile
import zlib
from pathlib import Path

import cv2
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import atomic_path
from menet_mm.utils.pictures import read_image

LISTS = Path(__file__).resolve().parent / 'data'
TINY_IMAGENET = 'http://cs231n.stanford.edu/tiny-imagenet-200.zip'
#: Validation pictures of every class of Tiny ImageNet; the subset has all of them.
VAL_PICTURES = 50

#: Splits of the VOC subset that have a list, by year.
VOC_SPLITS = {'VOC2007': ('trainval', 'test'), 'VOC2012': ('train', 'val')}
#: Longer sides of the VOC subset's pictures, in pixels, at most, and their JPEG quality.
LONG_SIDE, QUALITY = 400, 85


def make_tiny_imagenet_100(source: Path, lists: Path, out: Path) -> dict[str, int]:
    """Copy 100 of the 200 classes of Tiny ImageNet to ``{train,val}/<class>/*.JPEG``.

    Args:
        source: the official ``tiny-imagenet-200.zip``, or the folder that it unpacks into.
        lists: folder with ``tiny_imagenet_100.txt``, whose lines are a class and the numbers of its training pictures.
        out: folder to make.

    Returns:
        Number of pictures by split.

    Raises:
        InputError: if ``out`` exists, or a list or a picture is missing or broken.
    """
    lines = _read_list(lists / 'tiny_imagenet_100.txt', r'n\d{8}( \d+)+')
    train = {wnid: numbers for wnid, *numbers in (line.split() for line in lines)}
    _check_free(out)
    with atomic_path(out) as partial:
        root = _open_tiny_imagenet(source)
        val = _val_pictures(root / 'val' / 'val_annotations.txt')
        targets = {
            f'train/{wnid}/{wnid}_{number}.JPEG': f'train/{wnid}/images/{wnid}_{number}.JPEG'
            for wnid, numbers in train.items()
            for number in numbers
        }
        for wnid in train:
            names = val.get(wnid, set())
            if len(names) != VAL_PICTURES:
                raise InputError(
                    f'{source} has {len(names)} validation pictures of {wnid} instead of {VAL_PICTURES}: '
                    f'fetch {TINY_IMAGENET} again'
                )
            targets.update({f'val/{wnid}/{name}': f'val/images/{name}' for name in names})
        for target, name in track(targets.items(), 'Copying', disable=len(targets) < 500):
            path = partial / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_read(root / name))
    return {split: sum(target.startswith(split) for target in targets) for split in ('train', 'val')}


def make_voc_subset(source: Path, lists: Path, out: Path) -> dict[str, int]:
    """Scale pictures of VOC 2007 and 2012 to :data:`LONG_SIDE`, and their boxes; difficult objects are left out.

    Args:
        source: an unpacked official ``VOCdevkit``; of a year that it does not have, nothing is made.
        lists: folder with ``voc_subset/<year>_<split>.txt``, an id a line.
        out: folder to make, another ``VOCdevkit``.

    Returns:
        Number of pictures by year and split.

    Raises:
        InputError: if ``out`` exists, or a list, a picture or an annotation is missing or broken.
    """
    counts = {}
    _check_free(out)
    with atomic_path(out) as partial:
        years = [year for year in VOC_SPLITS if (source / year).is_dir()]
        if not years:
            raise InputError(
                f'{source} has no folder {" or ".join(VOC_SPLITS)}: give an unpacked VOCdevkit, such as '
                '`python tools/download_voc.py --root data/official --years 2007 2012` makes'
            )
        for year in years:
            splits = {split: _read_list(lists / f'voc_subset/{year}_{split}.txt', r'\w+') for split in VOC_SPLITS[year]}
            every = sorted({image_id for ids in splits.values() for image_id in ids})
            if 'trainval' not in splits:
                splits['trainval'] = every
            for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
                (partial / year / folder).mkdir(parents=True)
            for image_id in track(every, f'Scaling {year}', disable=len(every) < 100):
                _scale(source / year, partial / year, image_id)
            for split, ids in splits.items():
                (partial / year / f'ImageSets/Main/{split}.txt').write_text(
                    ''.join(f'{image_id}\n' for image_id in ids)
                )
                counts[f'{year} {split}'] = len(ids)
    return counts


#: What makes each subset, and where the configs look for it.
SUBSETS = {
    'tiny_imagenet_100': (make_tiny_imagenet_100, 'data/tiny_imagenet_100'),
    'voc_subset': (make_voc_subset, 'data/VOCdevkit'),
}


def _check_free(out: Path) -> None:
    if os.path.lexists(out):  # also a link, even one that leads nowhere
        raise InputError(
            f'{out} is there already and was left as it is: remove it, or choose another folder with --out'
        )


def _read_list(path: Path, pattern: str) -> list[str]:
    """Lines of a list of ids, every one of which must match."""
    try:
        lines = path.read_text('ascii', 'replace').splitlines()
    except FileNotFoundError:
        raise InputError(f'no list {path}: restore it, or name a folder of lists with --lists') from None
    for line in lines:
        if not re.fullmatch(pattern, line, re.ASCII):
            raise InputError(f'list {path} has the line "{line[:40]}", which holds no ids: restore the file')
    return lines


def _open_tiny_imagenet(source: Path) -> Path | zipfile.Path:
    """The folder with ``train`` and ``val``, in a zip file or on the disk."""
    root = zipfile.Path(source) if zipfile.is_zipfile(source) else source
    root = root / 'tiny-imagenet-200' if (root / 'tiny-imagenet-200').is_dir() else root
    if not (root / 'val').is_dir():
        raise InputError(
            f'{source} is not Tiny ImageNet: give the whole file {TINY_IMAGENET}, or the folder that it unpacks into'
        )
    return root


def _read(path: Path | zipfile.Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        problem = 'is missing'
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        problem = f'cannot be read ({error})'
    raise InputError(f'{path} {problem}: fetch {TINY_IMAGENET} again')


def _val_pictures(path: Path | zipfile.Path) -> dict[str, set[str]]:
    """Names of the validation pictures, by class."""
    pictures: dict[str, set[str]] = {}
    for line in _read(path).decode('ascii', 'replace').splitlines():
        found = re.match(r'(val_\d+\.JPEG)\t(n\d{8})\t', line)
        if not found:
            raise InputError(
                f'{path} has the line "{line[:40]}" instead of a name, a class and a box: fetch {TINY_IMAGENET} again'
            )
        pictures.setdefault(found[2], set()).add(found[1])
    return pictures


def _scale(source: Path, out: Path, image_id: str) -> None:
    """Write one picture and its annotation, scaled; both folders are of one year."""
    path = source / f'JPEGImages/{image_id}.jpg'
    image, defect = read_image(path)
    if image is None:
        raise InputError(f'image {path} cannot be read ({defect}); unpack all official archives of {source.name} again')
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    annotation = _annotation(source / f'Annotations/{image_id}.xml', scale, size)
    (out / f'Annotations/{image_id}.xml').write_text(annotation)
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # cv2.imwrite would say nothing of a full disk.
    _, data = cv2.imencode('.jpg', scaled, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    (out / f'JPEGImages/{image_id}.jpg').write_bytes(data.tobytes())


def _annotation(path: Path, scale: float, size: tuple[int, int]) -> str:
    """The annotation of a picture that was scaled to ``size`` (width, height), without difficult objects."""
    width, height = size
    root = ET.Element('annotation')
    _add(root, folder=path.parent.parent.name, filename=f'{path.stem}.jpg')
    _add(ET.SubElement(root, 'size'), width=width, height=height, depth=3)
    _add(root, segmented=0)
    try:
        for obj in ET.parse(path).getroot().findall('object'):
            if int(obj.findtext('difficult', '0')):
                continue
            # Pose and truncation are placeholders: nothing here reads them.
            kept = ET.SubElement(root, 'object')
            _add(kept, name=obj.find('name').text.strip(), pose='Unspecified', truncated=0, difficult=0)
            box = obj.find('bndbox')
            x1, y1, x2, y2 = (float(box.find(side).text) for side in ('xmin', 'ymin', 'xmax', 'ymax'))
            # VOC counts pixels from 1 and includes the last one: a box begins before its first pixel and ends after the last.
            x1, y1 = (max(1, round((value - 1) * scale + 1)) for value in (x1, y1))
            x2, y2 = min(width, round(x2 * scale)), min(height, round(y2 * scale))
            _add(ET.SubElement(kept, 'bndbox'), xmin=x1, ymin=y1, xmax=x2, ymax=y2)
    except FileNotFoundError:
        raise InputError(
            f'annotation {path} is missing; unpack all official archives of {path.parent.parent.name} again'
        ) from None
    except (ET.ParseError, AttributeError, TypeError, ValueError, OverflowError, LookupError) as error:
        raise InputError(
            f'annotation {path} is not valid VOC XML ({error}); unpack all official archives of '
            f'{path.parent.parent.name} again'
        ) from None
    ET.indent(root, '\t')
    return ET.tostring(root, encoding='unicode') + '\n'


def _add(parent: ET.Element, **fields: object) -> None:
    for key, value in fields.items():
        ET.SubElement(parent, key).text = str(value)


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m studies.subsets', description=__doc__)
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
