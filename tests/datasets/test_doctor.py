import shutil
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from menet_mm import InputError
from menet_mm.datasets.doctor import check_annotations, check_images
from menet_mm.datasets.shapes import CLASSES

OBJECT = (
    '<annotation><object><name>star</name><difficult>{difficult}</difficult>'
    '<bndbox><xmin>{xmin}</xmin><ymin>1.0</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>'
)
HINT = 'run `python tools/download_voc.py`'


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


@pytest.fixture
def voc(shapes: Path, tmp_path: Path) -> dict:
    """Config of a copy of the generated set that a test may damage."""
    shutil.copytree(shapes, tmp_path / 'set')
    return dict(
        type='VOCDataset',
        data_root=str(tmp_path / 'set'),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )


def wrap(dataset: dict) -> dict:
    return dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset]))


def test_a_good_set_passes(voc):
    check_annotations(wrap(voc), HINT)
    assert check_images(DATASETS.build(wrap(voc))) == 12


def test_missing_set_tells_how_to_get_it(voc):
    voc['data_root'] = 'nowhere'
    with pytest.raises(InputError, match=f'nowhere/VOC2007.*{HINT}'):
        check_annotations(wrap(voc), HINT)


@pytest.mark.parametrize(
    'text',
    [
        '<annotation><object>',
        '',
        '<annotation><object><name>star</name></object></annotation>',
        '<annotation><size><width>wide</width><height>9</height></size></annotation>',
        OBJECT.format(xmin='nan', difficult=0),
        OBJECT.format(xmin='inf', difficult=0),
        OBJECT.format(xmin=1, difficult='no'),
        OBJECT.format(xmin=1, difficult=''),
        '<?xml version="1.0" encoding="none"?><annotation/>',
    ],
)
def test_broken_xml_is_named(voc, text):
    path = Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml'
    path.write_text(text)
    with pytest.raises(InputError, match='trainval_00003.xml is not valid VOC XML'):
        check_annotations(wrap(voc), HINT)


def test_what_mmdet_reads_passes(voc):
    path = Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml'
    path.write_text(OBJECT.format(xmin='1.5', difficult=1))
    check_annotations(voc, HINT)
    assert DATASETS.build(voc).get_data_info(3)['instances'][0]['ignore_flag'] == 1


def test_a_binary_list_is_named(voc):
    (Path(voc['data_root']) / voc['ann_file']).write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(InputError, match=f'{voc["ann_file"]} is no text'):
        check_annotations(voc, HINT)


def test_missing_xml_is_named(voc):
    (Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml').unlink()
    with pytest.raises(InputError, match='trainval_00003.xml is missing'):
        check_annotations(wrap(voc), HINT)


def test_classes_that_do_not_occur_are_named(voc):
    voc['metainfo'] = dict(classes=('Star', 'Circle'))
    with pytest.raises(InputError, match='Star, Circle; it has circle, square, star, triangle'):
        check_annotations(voc, HINT)


@pytest.mark.parametrize(
    ('text', 'classes', 'message'),
    [
        ('{"images": [', CLASSES, 'is not valid COCO JSON'),
        ('{"images": [], "annotations": []}', CLASSES, "KeyError: 'categories'"),
        ('{"images": 3, "annotations": [], "categories": []}', (), 'must be lists'),
        (None, ('star', 'Circle'), 'no category Circle; it has circle, square, star, triangle'),
    ],
)
def test_broken_coco_files_are_named(shapes, tmp_path, text, classes, message):
    path = tmp_path / 'instances.json'
    path.write_text((shapes / 'annotations/trainval.json').read_text() if text is None else text)
    with pytest.raises(InputError, match=message) as caught:
        check_annotations(dict(ann_file=str(path), metainfo=dict(classes=classes)), HINT)
    assert str(path) in str(caught.value)


def test_missing_folder_of_a_classification_split_is_named(tmp_path):
    imagenet = dict(type='ImageNet', data_root=str(tmp_path), split='val')
    with pytest.raises(InputError, match=f'{tmp_path}/val does not exist'):
        check_annotations(imagenet, HINT)
    (tmp_path / 'val').mkdir()
    check_annotations(imagenet, HINT)


@pytest.mark.parametrize('damage', ['truncate', 'empty', 'text', 'remove'])
def test_broken_images_are_named(voc, damage):
    path = Path(voc['data_root']) / 'VOC2007/JPEGImages/trainval_00003.jpg'
    dataset = DATASETS.build(wrap(voc))
    content = path.read_bytes()
    new = dict(truncate=content[: len(content) // 2], empty=b'', text=b'not a picture')
    path.unlink()
    if damage in new:
        path.write_bytes(new[damage])
    with pytest.raises(InputError, match='trainval_00003.jpg cannot be read') as caught:
        check_images(dataset)
    assert '\n' not in str(caught.value)


def test_large_sets_are_sampled(voc, monkeypatch):
    monkeypatch.setattr('menet_mm.datasets.doctor.MAX_IMAGES', 5)
    assert check_images(DATASETS.build(voc)) == 5
