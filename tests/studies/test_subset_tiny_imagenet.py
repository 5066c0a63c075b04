"""The subset of Tiny ImageNet, made from small copies of the official archive."""

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from menet_mm import InputError
from studies.subsets import make_tiny_imagenet_100


@pytest.fixture
def tiny(tmp_path) -> Path:
    """Tiny ImageNet with three classes of five pictures for training, in the official layout."""
    root = tmp_path / 'official' / 'tiny-imagenet-200'
    rng = np.random.default_rng(0)

    def draw(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (8, 8, 3), np.uint8))

    wnids = [f'n0000000{i}' for i in (1, 2, 3)]
    for wnid in wnids:
        for number in range(5):
            draw(root / f'train/{wnid}/images/{wnid}_{number}.JPEG')
        (root / f'train/{wnid}/{wnid}_boxes.txt').write_text('')
    rows = []
    for number in range(150):
        draw(root / f'val/images/val_{number}.JPEG')
        rows.append(f'val_{number}.JPEG\t{wnids[number % 3]}\t0\t0\t7\t7\n')
    (root / 'val/val_annotations.txt').write_text(''.join(rows))
    return root


def pack(folder: Path) -> Path:
    path = folder.with_suffix('.zip')
    with zipfile.ZipFile(path, 'w') as file:
        for name in sorted(folder.rglob('*')):
            file.write(name, name.relative_to(folder.parent))
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.mark.parametrize('form', ['zip', 'folder', 'folder around it'])
def test_tiny_imagenet_100(lists, tiny, tmp_path, form):
    source = {'zip': pack(tiny), 'folder': tiny, 'folder around it': tiny.parent}[form]
    out = tmp_path / 'new' / 'tiny'
    assert make_tiny_imagenet_100(source, lists, out) == dict(train=3, val=100)
    official = tree(tiny)
    chosen = [('n00000001', 0), ('n00000001', 3), ('n00000002', 2)]
    expected = {f'train/{w}/{w}_{n}.JPEG': official[f'train/{w}/images/{w}_{n}.JPEG'] for w, n in chosen}
    for number in range(150):
        if number % 3 < 2:
            name = f'val_{number}.JPEG'
            expected[f'val/n0000000{number % 3 + 1}/{name}'] = official[f'val/images/{name}']
    assert tree(out) == expected
    assert [path.name for path in out.parent.iterdir()] == ['tiny']


def _cut_zip(root: Path) -> Path:
    path = pack(root)
    path.write_bytes(path.read_bytes()[:-1000])
    return path


def _damaged_zip(root: Path) -> Path:
    path = pack(root)
    picture = (root / 'train/n00000001/images/n00000001_3.JPEG').read_bytes()
    path.write_bytes(path.read_bytes().replace(picture, picture[::-1]))
    return path


def _without(root: Path, name: str) -> Path:
    (root / name).unlink()
    return root


def _annotated(root: Path, change) -> Path:
    path = root / 'val/val_annotations.txt'
    path.write_text(change(path.read_text()))
    return root


@pytest.mark.parametrize(
    ('spoil', 'expected'),
    [
        (lambda root: root / 'nowhere', 'nowhere is not Tiny ImageNet: give the whole file http://cs231n'),
        (lambda root: root / 'train', 'train is not Tiny ImageNet'),
        (_cut_zip, '.zip is not Tiny ImageNet'),
        (_damaged_zip, 'n00000001_3.JPEG cannot be read (Bad CRC-32'),
        (lambda root: _without(root, 'train/n00000002/images/n00000002_2.JPEG'), 'n00000002_2.JPEG is missing'),
        (lambda root: _without(root, 'val/images/val_3.JPEG'), 'val_3.JPEG is missing'),
        (
            lambda root: _annotated(root, lambda text: text.partition('\n')[2]),
            'has 49 validation pictures of n00000001 instead of 50',
        ),
        (lambda root: _annotated(root, lambda text: text.replace('val_0.', '../val_0.')), 'the line "../val_0.JPEG'),
    ],
)
def test_mistakes_in_tiny_imagenet(lists, tiny, tmp_path, spoil, expected):
    out = tmp_path / 'data' / 'tiny'
    source = spoil(tiny)
    with pytest.raises(InputError, match=re.escape(expected)):
        make_tiny_imagenet_100(source, lists, out)
    assert not list(out.parent.iterdir())
