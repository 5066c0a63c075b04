"""The lists of the subsets, and the subset of VOC, made from small copies of the official archives."""

import re
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from menet_mm import InputError
from studies.subsets import make_voc_subset

ROOT = Path(__file__).resolve().parent.parent.parent
LISTS = ROOT / 'studies' / 'data'


def obj(name: str, *box: float, difficult: int | None = 0, part: str = '') -> str:
    flag = '' if difficult is None else f'<difficult>{difficult}</difficult>'
    sides = zip(('xmax', 'xmin', 'ymax', 'ymin'), (box[2], box[0], box[3], box[1]), strict=True)
    return (
        f'<object><name>{name}</name><pose>Left</pose><truncated>1</truncated>{flag}'
        f'<bndbox>{"".join(f"<{side}>{value}</{side}>" for side, value in sides)}</bndbox>{part}</object>'
    )


@pytest.fixture
def voc(tmp_path) -> Path:
    """A VOCdevkit of six pictures that the lists name and three others."""
    root = tmp_path / 'official' / 'VOCdevkit'
    head = '<part><name>head</name><bndbox><xmin>60</xmin><ymin>60</ymin><xmax>70</xmax><ymax>70</ymax></bndbox></part>'
    for year, ids in {
        'VOC2007': ('000001', '000005', '000007', '000009'),
        'VOC2012': ('2008_000001', '2008_000002', '2008_000009', '2008_000012', '2008_000013'),
    }.items():
        for folder in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
            (root / year / folder).mkdir(parents=True)
        (root / year / 'ImageSets/Main/trainval.txt').write_text(''.join(f'{i}\n' for i in ids))
        for image_id in ids:
            width, height, objects = 500, 334, [obj('cow', 1, 1, 500, 334)]
            if image_id == '000005':
                objects = [
                    obj('cat', 3, 13, 23, 333, difficult=1),
                    obj('dog', 3, 14, 23, 133, part=head),
                    obj('cat', 1, 2, 499, 334, difficult=None),
                    obj('sheep', '45.70000076293945', 8, 496, 90),
                ]
            elif image_id == '2008_000001':
                width, height, objects = 300, 200, [obj('horse', 3, 14, 300, 200)]
            elif image_id == '2008_000012':
                width, height = 442, 500
            image = np.zeros((height, width, 3), np.uint8)
            image[:, : width // 2] = 200, 100, 50  # the left half is blue
            cv2.imwrite(str(root / year / f'JPEGImages/{image_id}.jpg'), image)
            size = f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
            (root / year / f'Annotations/{image_id}.xml').write_text(
                f'<annotation><filename>{image_id}.jpg</filename><source><image>flickr</image></source>{size}'
                f'<segmented>1</segmented>{"".join(objects)}</annotation>'
            )
    return root


def test_lists_name_the_pictures_that_were_used(shared):
    lines = (LISTS / 'tiny_imagenet_100.txt').read_text().splitlines()
    train = {f'train/{wnid}/{wnid}_{n}.JPEG' for wnid, *numbers in map(str.split, lines) for n in numbers}
    with tarfile.open(shared / 'data/tiny_imagenet_100.tar') as tar:
        names = [name.partition('/')[2] for name in tar.getnames() if name.endswith('.JPEG')]
    assert sorted(train) == sorted(name for name in names if name.startswith('train'))
    classes = [line.split()[0] for line in lines]
    val = [name.split('/')[1] for name in names if name.startswith('val')]
    assert sorted(val) == sorted(classes * 50)

    paths = sorted((LISTS / 'voc_subset').glob('*.txt'))
    assert [path.stem for path in paths] == ['VOC2007_test', 'VOC2007_trainval', 'VOC2012_train', 'VOC2012_val']
    for path in paths:
        year, split = path.stem.split('_')
        used = shared / f'data/VOCdevkit/{year}/ImageSets/Main/{split}.txt'
        assert path.read_text() == used.read_text()


def test_voc_subset(tool, lists, voc, tmp_path):
    out = tmp_path / 'new' / 'VOCdevkit'
    said = tool('studies.subsets', 'voc_subset', voc, '--lists', lists, '--out', out).stdout
    assert '2 pictures of VOC2007 trainval, 1 pictures of VOC2007 test' in said
    assert [path.name for path in out.parent.iterdir()] == ['VOCdevkit']
    texts = {path.relative_to(out).as_posix(): path.read_text() for path in out.glob('*/ImageSets/Main/*')}
    assert texts == {
        'VOC2007/ImageSets/Main/trainval.txt': '000005\n000009\n',
        'VOC2007/ImageSets/Main/test.txt': '000001\n',
        'VOC2012/ImageSets/Main/train.txt': '2008_000009\n',
        'VOC2012/ImageSets/Main/val.txt': '2008_000001\n2008_000012\n',
        'VOC2012/ImageSets/Main/trainval.txt': '2008_000001\n2008_000009\n2008_000012\n',
    }

    sizes = {}
    for path in out.glob('*/JPEGImages/*'):
        image = cv2.imread(str(path))
        height, width = image.shape[:2]
        sizes[path.stem] = width, height
        assert np.abs(image[height // 2, width // 4] - [200.0, 100, 50]).max() < 5
        assert image[height // 2, 3 * width // 4].max() < 5
    scaled = dict.fromkeys(('000001', '000005', '000009', '2008_000009'), (400, 267))
    assert sizes == {**scaled, '2008_000001': (300, 200), '2008_000012': (354, 400)}
    assert {path.stem for path in out.glob('*/Annotations/*')} == set(sizes)

    def kept(name: str, *box: int) -> str:
        sides = zip(('xmin', 'ymin', 'xmax', 'ymax'), box, strict=True)
        return (
            f'\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n'
            '\t\t<difficult>0</difficult>\n\t\t<bndbox>\n'
            f'{"".join(f"{3 * chr(9)}<{side}>{value}</{side}>{chr(10)}" for side, value in sides)}'
            '\t\t</bndbox>\n\t</object>\n'
        )

    # A first pixel x becomes (x - 1) * 0.8 + 1, a last one x * 0.8.
    assert (out / 'VOC2007/Annotations/000005.xml').read_text() == (
        '<annotation>\n\t<folder>VOC2007</folder>\n\t<filename>000005.jpg</filename>\n'
        '\t<size>\n\t\t<width>400</width>\n\t\t<height>267</height>\n\t\t<depth>3</depth>\n\t</size>\n'
        '\t<segmented>0</segmented>\n'
        + kept('dog', 3, 11, 18, 106)
        + kept('cat', 1, 2, 399, 267)
        + kept('sheep', 37, 7, 397, 72)
        + '</annotation>\n'
    )
    assert kept('horse', 3, 14, 300, 200) in (out / 'VOC2012/Annotations/2008_000001.xml').read_text()


def test_a_year_alone(lists, voc, tmp_path):
    (voc / 'VOC2012').rename(tmp_path / 'elsewhere')
    counts = make_voc_subset(voc, lists, tmp_path / 'out')
    assert counts == {'VOC2007 trainval': 2, 'VOC2007 test': 1}
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['VOC2007']


def test_annotations_have_the_form_that_was_used(shared, tmp_path):
    """Nothing of the real subset is left to scale, so it must come out as it went in."""
    for path in (LISTS / 'voc_subset').iterdir():
        short = tmp_path / 'lists' / 'voc_subset' / path.name
        short.parent.mkdir(parents=True, exist_ok=True)
        short.write_text(''.join(path.read_text().splitlines(keepends=True)[:10]))
    source, out = shared / 'data/VOCdevkit', tmp_path / 'out'
    make_voc_subset(source, tmp_path / 'lists', out)
    made = sorted(out.glob('*/Annotations/*'))
    assert len(made) == 40
    for path in made:
        assert path.read_bytes() == (source / path.relative_to(out)).read_bytes()


@pytest.mark.parametrize('kind', ['folder', 'file', 'link', 'broken link'])
def test_what_is_there_stays(lists, voc, tmp_path, kind):
    out = tmp_path / 'data' / 'VOCdevkit'
    out.parent.mkdir()
    if kind == 'folder':
        out.mkdir()
    elif kind == 'file':
        out.write_text('years of work')
    else:
        out.symlink_to(voc if kind == 'link' else 'nowhere')
    before = out.lstat()
    with pytest.raises(InputError, match=f'{out} is there already .* --out'):
        make_voc_subset(voc, lists, out)
    assert out.lstat() == before
    assert [path.name for path in out.parent.iterdir()] == ['VOCdevkit']


@pytest.mark.parametrize(
    ('name', 'content', 'expected'),
    [
        ('VOC2012/JPEGImages/2008_000012.jpg', None, '2008_000012.jpg cannot be read (no such file)'),
        ('VOC2012/JPEGImages/2008_000012.jpg', '', '2008_000012.jpg cannot be read (cannot identify image file'),
        ('VOC2007/Annotations/000001.xml', None, '000001.xml is missing; unpack all official archives of VOC2007'),
        ('VOC2007/Annotations/000001.xml', '<annotation>', '000001.xml is not valid VOC XML'),
        (
            'VOC2007/Annotations/000001.xml',
            '<?xml version="1.0" encoding="none"?><a/>',
            '000001.xml is not valid VOC XML',
        ),
        ('VOC2007/Annotations/000001.xml', '<a><object><name>x</name></object></a>', '000001.xml is not valid VOC XML'),
        ('VOC2007/Annotations/000001.xml', f'<a>{obj("x", "inf", 1, 2, 2)}</a>', '000001.xml is not valid VOC XML'),
    ],
)
def test_mistakes_in_voc(lists, voc, tmp_path, name, content, expected):
    (voc / name).unlink() if content is None else (voc / name).write_text(content)
    out = tmp_path / 'data' / 'VOCdevkit'
    with pytest.raises(InputError, match=re.escape(expected)):
        make_voc_subset(voc, lists, out)
    assert not list(out.parent.iterdir())


def test_mistakes_of_the_caller(lists, voc, tmp_path):
    def said(source: Path, folder: Path = LISTS) -> str:
        with pytest.raises(InputError) as error:
            make_voc_subset(source, folder, tmp_path / 'out')
        return str(error.value)

    assert 'tools/download_voc.py --root' in said(voc.parent)
    assert f'no list {tmp_path}/none/voc_subset/VOC2007_trainval.txt' in said(voc, tmp_path / 'none')
    (lists / 'voc_subset/VOC2007_test.txt').write_text('000001\n../../secret\n')
    assert 'the line "../../secret", which holds no ids' in said(voc, lists)
    (lists / 'voc_subset/VOC2007_test.txt').write_bytes(b'\xff\xd8\xff\xe0')
    assert 'which holds no ids' in said(voc, lists)
    assert not (tmp_path / 'out').exists()


def test_the_committed_lists_are_the_default(tool, voc, tmp_path):
    """This copy of VOC lacks most of their pictures, which is said in one sentence."""
    result = tool('studies.subsets', 'voc_subset', voc, '--out', tmp_path / 'out', ok=False)
    *_, last = result.stdout.strip().splitlines()
    assert last.startswith('error: ')
    assert 'VOC2007/JPEGImages/000063.jpg cannot be read (no such file)' in last
    assert 'Traceback' not in result.stdout
    assert not (tmp_path / 'out').exists()
