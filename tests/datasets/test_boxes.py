"""BoxDataset beside mmdet's own data sets, with damaged data, and with pictures that EXIF turns."""

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset, XMLDataset
from mmengine.logging import MMLogger
from PIL import Image

from menet_mm import BoxDataset, InputError
from menet_mm.datasets.shapes import CLASSES

LOAD = [dict(type='mmdet.LoadAnnotations', with_bbox=True)]


def instances(dataset) -> dict[str, list[tuple]]:
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {
        Path(i['img_path']).stem: [(*x['bbox'], x['bbox_label'], x['ignore_flag']) for x in i['instances']]
        for i in infos
    }


@pytest.fixture
def said(caplog):
    """What the data set logs."""
    logger = MMLogger.get_instance('boxes', logger_name='boxes')
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)
    yield lambda: caplog.text
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize('form', ['voc', 'coco'])
def test_it_reads_what_mmdet_reads(shapes, form):
    meta = dict(metainfo=dict(classes=CLASSES), filter_cfg=dict(filter_empty_gt=True, min_size=32))
    if form == 'voc':
        prefix = dict(data_root=f'{shapes}/VOC2007/', data_prefix=dict(sub_data_root=''))
        theirs = XMLDataset(ann_file='ImageSets/Main/trainval.txt', **prefix, **meta)
    else:
        prefix = dict(data_root=f'{shapes}/', data_prefix=dict(img='VOC2007/JPEGImages/'))
        theirs = CocoDataset(ann_file='annotations/trainval.json', **prefix, **meta)
    listed = 'VOC2007/ImageSets/Main/trainval.txt'
    ours = BoxDataset(data_root=str(shapes), format=form, ann_file=listed, **meta)
    assert len(ours) == 12
    assert instances(ours) == instances(theirs)
    keys = ('width', 'height', 'img_path')
    assert [[ours.get_data_info(i)[key] for key in keys] for i in range(12)] == [
        [theirs.get_data_info(i)[key] for key in keys] for i in range(12)
    ]


@pytest.fixture
def turned(tmp_path):
    """A picture of 60 x 40 that EXIF turns to 40 x 60; returns a function that reads it with an annotation of some size."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(tmp_path / 'a.jpg', exif=exif)

    def read(size: str) -> tuple[np.ndarray, dict]:
        box = '<bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>'
        (tmp_path / 'a.xml').write_text(f'<annotation>{size}<object><name>cat</name>{box}</object></annotation>')
        pipeline = [dict(type='LoadImageFromFile'), *LOAD]
        results = BoxDataset(data_root=str(tmp_path), format='voc', pipeline=pipeline)[0]
        return results['img'], results

    return read


def test_boxes_follow_the_picture_as_it_is_shown_or_stored(turned, said):
    image, results = turned('<size><width>40</width><height>60</height></size>')
    assert image.shape[:2] == (results['height'], results['width']) == (60, 40)
    assert image[0].mean() > 250 > 5 > image[-1].mean()  # the white half is at the top
    image, results = turned('<size><width>60</width><height>40</height></size>')
    assert image.shape[:2] == (results['height'], results['width']) == (40, 60)
    assert image[:, 0].mean() > 250 > 5 > image[:, -1].mean()  # on the left, as it is stored
    assert 'EXIF' not in said()
    image, _ = turned('')
    assert image.shape[:2] == (60, 40)
    assert 'EXIF' in said()


def test_what_is_left_out_is_said(shapes, tmp_path, said):
    root = Path(shutil.copytree(shapes / 'VOC2007', tmp_path / 'set'))
    first = root / 'Annotations/trainval_00000.xml'
    flat = '<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>9</xmax><ymax>20</ymax></bndbox>'
    outside = flat.replace('<xmax>9<', '<xmax>2000<').replace('<xmin>9<', '<xmin>1900<')
    objects = ''.join(f'<object><name>star</name>{box}</object>' for box in (flat, outside))
    first.write_text(f'<annotation>{objects}<object><name>Star</name>{flat}</object></annotation>')
    filters = dict(filter_empty_gt=True, min_size=32)
    found = BoxDataset(
        data_root=str(root),
        format='voc',
        ann_file='ImageSets/Main/trainval.txt',
        metainfo=dict(classes=CLASSES),
        filter_cfg=filters,
    )
    assert len(found) == 11
    for part in (
        'have no area',
        'lie outside',
        "'Star'",
        "did you mean it by 'star'",
        '1 of 12 pictures are left out: 1 without an object',
    ):
        assert part in said()


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (dict(ann_file='none.txt'), 'no list'),
        (dict(metainfo=dict(classes=('Circle',))), 'no object'),
        (dict(metainfo=dict(classes=('star', 'star'))), 'twice'),
        (dict(filter_cfg=dict(min_size=1000)), 'under 1000 px'),
        (dict(data_root='/nowhere'), '/nowhere'),
        (dict(format='xml'), 'unknown format'),
    ],
)
def test_what_cannot_work_is_refused(shapes, changes, expected):
    with pytest.raises(InputError, match=expected):
        BoxDataset(**{**dict(data_root=str(shapes / 'VOC2007'), format='voc'), **changes})


def test_a_test_set_without_objects_is_said(tmp_path, said):
    for name in 'ab':
        Image.new('RGB', (40, 40)).save(tmp_path / f'{name}.png')
    (tmp_path / 'a.txt').write_text('0 0.5 0.5 0.5 0.5\n')
    (tmp_path / 'classes.txt').write_text('cat\n')
    (tmp_path / 'val.lst').write_text('b\n')
    assert len(BoxDataset(data_root=str(tmp_path), ann_file='val.lst', test_mode=True)) == 1
    assert 'no object' in said()
    with pytest.raises(InputError, match='no object'):
        BoxDataset(data_root=str(tmp_path), ann_file='val.lst')


def test_a_damaged_picture_is_named(shapes, tmp_path):
    root = Path(shutil.copytree(shapes / 'VOC2007', tmp_path / 'set'))
    (root / 'JPEGImages/test_00001.jpg').write_bytes(b'')
    with pytest.raises(InputError, match='test_00001.jpg cannot be read'):
        BoxDataset(data_root=str(root), format='voc')
