"""Labelled sets as tools write them: what is read, what is left out with a note, what is refused."""

import json
import shutil
from dataclasses import astuple
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as masks

from menet_mm import InputError
from menet_mm.datasets.labels import Labels
from menet_mm.datasets.reading import FORMATS, read_labels, write_labels

BOX = '<object><name>{name}</name><bndbox><xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>'


def draw_picture(path: Path, width: int = 40, height: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    return path


def voc_xml(*sides: float, name: str = 'cat', head: str = '', more: str = '') -> str:
    return f'{head}<annotation>{more}{BOX.format(*sides, name=name) if sides else ""}</annotation>'


def boxes(labels: Labels) -> dict[str, list[tuple]]:
    return {Path(name).stem: [astuple(box) for box in picture.boxes] for name, picture in labels.pictures.items()}


def read(root: Path) -> Labels:
    return read_labels(root)[0].check()


@pytest.fixture
def voc(tmp_path):
    """A picture a.jpg with one box; returns a function that writes its XML, or bytes, anew and reads the folder."""
    draw_picture(tmp_path / 'a.jpg')

    def write(content: str | bytes, name: str = 'a.xml') -> Labels:
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name).write_bytes(data)
        return read_labels(tmp_path, 'voc')[0]

    return write


@pytest.mark.parametrize('form', [name for name in FORMATS if name != 'folders'])
def test_one_set_is_the_same_in_every_format(shapes, tmp_path, form):
    labels = read(shapes / 'VOC2007')
    assert sum(map(len, boxes(labels).values())) > 20
    write_labels(labels, tmp_path / 'written', form)
    again, recognised = read_labels(tmp_path / 'written')
    assert recognised == form
    assert not again.errors
    assert not again.notes
    assert boxes(again) == boxes(labels)
    assert again.classes == labels.classes
    splits = {split: [Path(name).stem for name in ids] for split, ids in again.splits.items()}
    assert splits == {split: [Path(name).stem for name in ids] for split, ids in labels.splits.items()}


def test_folders_of_classes(shapes, tmp_path):
    labels = read(shapes / 'VOC2007')
    for picture in labels.pictures.values():
        picture.label = picture.boxes[0].name
    write_labels(labels, tmp_path / 'written', 'folders')
    draw_picture(tmp_path / 'written/.ipynb_checkpoints/x/a.jpg')
    again, recognised = read_labels(tmp_path / 'written')
    assert recognised == 'folders'
    assert {Path(name).stem: picture.label for name, picture in again.pictures.items()} == {
        Path(name).stem: picture.label for name, picture in labels.pictures.items()
    }
    assert {split: len(ids) for split, ids in again.splits.items()} == {'trainval': 12, 'test': 6}


def test_voc_counts_from_one_and_cuts_fractions(voc):
    assert boxes(voc(voc_xml(1, 2.9, '10.5', 20)))['a'] == [('cat', 0, 1, 9, 19, False, False)]


@pytest.mark.parametrize('encoding', ['gb2312', 'utf-8', 'utf-16', 'latin-1'])
def test_voc_in_its_declared_encoding(voc, encoding):
    name = 'été' if encoding == 'latin-1' else '安全帽'
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
    assert voc(voc_xml(1, 1, 5, 5, name=name, head=head).encode(encoding)).check().classes == [name]


def test_voc_picture_is_found_whatever_the_file_says(tmp_path):
    draw_picture(tmp_path / 'photos/one.PNG')
    draw_picture(tmp_path / 'photos/two.bmp')
    (tmp_path / 'xml').mkdir()
    wrong = '<folder>Desktop</folder><filename>other.xml</filename>'
    (tmp_path / 'xml/one.xml').write_text(voc_xml(1, 1, 5, 5, more=wrong))
    right = r'<filename>C:\data\two.bmp</filename>'
    (tmp_path / 'xml/2.xml').write_text(voc_xml(1, 1, 5, 5, more=right))
    (tmp_path / 'xml/gone.xml').write_text(voc_xml(1, 1, 5, 5))
    labels = read(tmp_path)
    assert sorted(labels.pictures) == ['photos/one.PNG', 'photos/two.bmp']
    assert any('gone.xml' in line for line in labels.said())


def test_voc_objects_that_cannot_be_used_are_counted(voc):
    said = voc(voc_xml(1, 1, 5, 5, name='cat ', more='<object><name>dog</name></object>')).said()
    assert any('blanks around them' in line for line in said)
    assert any('no box' in line and 'a.xml' in line for line in said)


def test_voc_size_that_says_nothing(voc):
    nothing = '<size><width>0</width><height>0</height></size>'
    assert voc(voc_xml(1, 1, 5, 5, more=nothing)).pictures['a.jpg'].size is None
    told = '<size><width>40</width><height>20</height></size>'
    assert voc(voc_xml(1, 1, 5, 5, more=told)).pictures['a.jpg'].size == (40, 20)


@pytest.mark.parametrize(
    'content',
    [
        '<annotation>',
        voc_xml(1, 1, 'nan', 5),
        voc_xml(1, 1, 'five', 5),
        voc_xml(1, 1, 5, 5, head='<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>', name='&b;'),
    ],
)
def test_voc_that_cannot_be_used_is_refused_by_name(voc, content):
    with pytest.raises(InputError, match=r'a\.xml'):
        voc(content).check()


def test_lists_as_they_are_found(tmp_path):
    for name in ('a', 'b c', 'd'):
        draw_picture(tmp_path / f'JPEGImages/{name}.jpg')
        (tmp_path / f'JPEGImages/{name}.xml').write_text(voc_xml(1, 1, 5, 5))
    (tmp_path / 'train.txt').write_bytes('\ufeffa  1\r\nb c.jpg -1\r\n\r\n'.encode())
    (tmp_path / 'val.txt').write_text('JPEGImages/d.jpg\n')
    labels = read(tmp_path)
    assert labels.splits == {'train': ['JPEGImages/a.jpg', 'JPEGImages/b c.jpg'], 'val': ['JPEGImages/d.jpg']}
    (tmp_path / 'val.txt').write_text('d\nmissing\n')
    with pytest.raises(InputError, match=r"val\.txt, line 2: no labelled picture 'missing'"):
        read(tmp_path)


def coco(root: Path, **changes: object) -> Labels:
    draw_picture(root / 'images/a.jpg')
    content = dict(
        images=[dict(id='x7', file_name='a.jpg')],
        annotations=[dict(id=1, image_id='x7', category_id=30, bbox=[1, 2, 10, 5])],
        categories=[dict(id=0, name='root'), dict(id=30, name='cat')],
    )
    (root / 'labels.json').write_text(json.dumps(content | changes))
    return read_labels(root)[0]


def test_coco_with_gaps_and_the_least_that_a_file_has(tmp_path):
    labels = coco(tmp_path).check()
    assert boxes(labels) == {'a': [('cat', 1, 2, 11, 7, False, False)]}
    assert labels.classes == ['cat']
    assert any('root' in line for line in labels.said())


def test_coco_masks_and_crowds(tmp_path):
    mask = np.zeros((20, 40), np.uint8, order='F')
    mask[3:8, 4:10] = 1
    coded = masks.encode(mask)
    rle = dict(size=coded['size'], counts=coded['counts'].decode())
    common = dict(image_id='x7', category_id=30)
    entries = [
        dict(common, segmentation=rle, iscrowd=1),
        dict(common, segmentation=dict(size=[20, 40], counts=[100, 10, 690])),
        dict(common, segmentation=[[1, 1, 6, 1, 6, 4]]),
        dict(common, segmentation=[]),
        dict(common, image_id='none', bbox=[0, 0, 1, 1]),
    ]
    labels = coco(tmp_path, annotations=entries).check()
    found = boxes(labels)['a']
    assert found[0] == ('cat', 4, 3, 10, 8, False, True)
    assert found[1:] == [('cat', 5, 0, 6, 10, False, False), ('cat', 1, 1, 6, 4, False, False)]
    assert len(labels.said()) == 3  # without a mask, of no picture, the category without an object


def test_coco_with_two_categories_of_one_name(tmp_path):
    two = [dict(id=30, name='cat'), dict(id=31, name='cat')]
    entries = [dict(image_id='x7', category_id=number, bbox=[0, 0, 5, 5]) for number in (30, 31)]
    labels = coco(tmp_path, categories=two, annotations=entries).check()
    assert labels.counts() == {'cat': 2}


@pytest.mark.parametrize(
    'changes',
    [
        dict(annotations=[dict(image_id='x7', category_id=30, bbox=[0, 0, 'a', 5])]),
        dict(annotations=[dict(image_id='x7', category_id=30, bbox=[0, 0, float('nan'), 5])]),
        dict(images=[dict(id=1, file_name='a.jpg'), dict(id=1, file_name='a.jpg')]),
        dict(images=5),
    ],
)
def test_coco_that_cannot_be_used_is_refused_by_name(tmp_path, changes):
    with pytest.raises(InputError, match=r'labels\.json'):
        coco(tmp_path, **changes).check()


def test_yolo_as_roboflow_exports_it(tmp_path):
    for split in ('train', 'valid'):
        draw_picture(tmp_path / f'{split}/images/{split}.jpg')
        (tmp_path / f'{split}/labels').mkdir()
    draw_picture(tmp_path / 'train/images/empty.jpg')
    (tmp_path / 'train/labels/train.txt').write_text('1 0.5 0.5 0.5 0.5\n\n')
    (tmp_path / 'valid/labels/valid.txt').write_text('0 0.25 0.1 0.5 0.1 0.5 0.9\n')  # an outline
    (tmp_path / 'data.yaml').write_text('train: ../train/images\nval: ../valid/images\nnc: 2\nnames: [cat, big dog]\n')
    labels = read(tmp_path)
    assert boxes(labels)['train'] == [('big dog', 10, 5, 30, 15, False, False)]
    assert boxes(labels)['valid'] == [('cat', 10, 2, 20, 18, False, False)]
    assert labels.classes == ['cat', 'big dog']
    assert labels.splits == {
        'train': ['train/images/empty.jpg', 'train/images/train.jpg'],
        'val': ['valid/images/valid.jpg'],
    }


def test_yolo_with_a_list_of_classes(tmp_path):
    draw_picture(tmp_path / 'a.jpg')
    (tmp_path / 'a.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'classes.txt').write_text('cat\n')
    assert read(tmp_path).counts() == {'cat': 1}
    (tmp_path / 'classes.txt').unlink()
    assert read(tmp_path).counts() == {'0': 1}


@pytest.mark.parametrize(
    'row', ['1 0.5 0.5 0.5 0.5', '0 0.5 0.5', '0 10 5 20 10', '0 nan 0.5 0.5 0.5', 'cat 0.5 0.5 0.5 0.5']
)
def test_yolo_that_cannot_be_used_is_refused_by_line(tmp_path, row):
    draw_picture(tmp_path / 'images/a.jpg')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.txt').write_text(f'0 0.5 0.5 0.5 0.5\n{row}\n')
    (tmp_path / 'data.yaml').write_text('names: {0: cat}\n')
    with pytest.raises(InputError, match=r'a\.txt, line 2'):
        read(tmp_path)


def test_yaml_makes_no_objects(tmp_path):
    draw_picture(tmp_path / 'a.jpg')
    made = tmp_path / 'made'
    (tmp_path / 'data.yaml').write_text(f'names: !!python/object/apply:os.mkdir ["{made}"]\n')
    with pytest.raises(InputError):
        read(tmp_path)
    assert not made.exists()


def test_labelme_shapes(tmp_path):
    draw_picture(tmp_path / 'a.jpg')
    shapes = [
        dict(label='cat', points=[[10, 12], [2, 3]], shape_type='rectangle'),
        dict(label='cat', points=[[1, 1], [9, 2], [4, 7]], shape_type='polygon'),
        dict(label='dog', points=[[10, 10], [13, 14]], shape_type='circle'),
        dict(label='dog', points=[[10, 10]], shape_type='point'),
    ]
    content = dict(shapes=shapes, imagePath='..\\photos\\a.jpg', imageWidth=40, imageHeight=20)
    (tmp_path / 'a.json').write_text(json.dumps(content))
    labels = read(tmp_path)
    assert [box[:5] for box in boxes(labels)['a']] == [
        ('cat', 2, 3, 10, 12),
        ('cat', 1, 1, 9, 7),
        ('dog', 5, 5, 15, 15),
    ]
    assert any('point' in line for line in labels.said())
    assert labels.pictures['a.jpg'].size == (40, 20)


@pytest.mark.parametrize(
    'text',
    [
        'filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,40,20,cat,1,2,11,7\nb.jpg,40,20,,,,,\n',
        'image;x1;y1;x2;y2;label\na.jpg;1;2;11;7;cat\nb.jpg;;;;;\n',
        'img/a.jpg,1,2,11,7,cat\nimg/b.jpg,,,,,\n',
    ],
)
def test_csv_by_the_names_of_its_columns(tmp_path, text):
    for name in 'ab':
        draw_picture(tmp_path / f'img/{name}.jpg')
    (tmp_path / 'boxes.csv').write_text(text)
    assert boxes(read(tmp_path)) == {'a': [('cat', 1, 2, 11, 7, False, False)], 'b': []}
    (tmp_path / 'boxes.csv').write_text(text.replace(text[text.rindex('cat') - 2 : text.rindex('cat') - 1], 'x'))
    (tmp_path / 'boxes.csv').write_text(text.replace('11', 'eleven'))
    with pytest.raises(InputError):
        read(tmp_path)


def test_splits_are_the_folders_called_so(tmp_path):
    for split in ('train', 'valid'):
        draw_picture(tmp_path / f'{split}/{split}.jpg')
        (tmp_path / f'{split}/{split}.xml').write_text(voc_xml(1, 1, 5, 5))
    assert read(tmp_path).splits == {'train': ['train/train.jpg'], 'val': ['valid/valid.jpg']}


def test_a_folder_of_two_formats_or_none_is_refused(shapes, tmp_path):
    with pytest.raises(InputError, match=r'voc and coco.*--format'):
        read_labels(shapes)
    assert len(read_labels(shapes, 'coco')[0].pictures) == 18
    draw_picture(tmp_path / 'a.jpg')
    with pytest.raises(InputError, match='labels of no format'):
        read_labels(tmp_path)
    with pytest.raises(InputError, match='no data set'):
        read_labels(tmp_path / 'nowhere')


def test_a_picture_of_the_same_name_elsewhere_is_another_one(tmp_path):
    for folder in 'ab':
        draw_picture(tmp_path / folder / '1.jpg')
    entries = [dict(id=i, file_name=f'{folder}/1.jpg') for i, folder in enumerate('abc')]
    labels = coco(tmp_path, images=entries, annotations=[])
    assert sorted(labels.pictures) == ['a/1.jpg', 'b/1.jpg']
    assert any('c/1.jpg' in line for line in labels.said())


def test_no_picture_outside_the_folder_is_taken(tmp_path):
    draw_picture(tmp_path / 'outside.jpg')
    inside = tmp_path / 'inside'
    draw_picture(inside / 'images/a.jpg')
    shutil.copy(tmp_path / 'outside.jpg', tmp_path / 'b.jpg')
    entries = [dict(id=1, file_name='../outside.jpg'), dict(id=2, file_name=str(tmp_path / 'b.jpg'))]
    assert not coco(inside, images=entries, annotations=[]).pictures
