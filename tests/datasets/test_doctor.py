import json
import logging
import pickle
import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import mmpretrain.datasets  # noqa: F401 (registers CIFAR10)
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope, init_default_scope

from menet_mm import InputError
from menet_mm.datasets.doctor.identity import check_recorded
from menet_mm.datasets.doctor.start import check_annotations, check_images
from menet_mm.datasets.shapes import CLASSES

OBJECT = (
    '<annotation><object><name>{name}</name><difficult>{difficult}</difficult>'
    '<bndbox><xmin>{xmin}</xmin><ymin>1.0</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>'
)
HINT = 'run `python tools/download_voc.py`'


def xml(name: str = 'star', xmin: object = 1, difficult: object = 0) -> str:
    return OBJECT.format(name=name, xmin=xmin, difficult=difficult)


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


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What is logged during a test."""
    lines: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('INFO')  # a command that ran in this process may have left one that says errors alone
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(level)


def wrap(dataset: dict) -> dict:
    return dict(type='RepeatDataset', times=2, dataset=dict(type='ConcatDataset', datasets=[dataset]))


@DATASETS.register_module()
class InMemory(BaseDataset):
    """Items without a file, as mmpretrain's CIFAR10 and MNIST have them."""

    METAINFO = dict(classes=CLASSES)

    def load_data_list(self) -> list[dict]:
        return [dict(img=np.zeros((8, 8, 3), np.uint8), gt_label=i) for i in range(3)]


@DATASETS.register_module()
class OwnLayout(DATASETS.get('VOCDataset')):
    """Reads its files in a way of its own, although it inherits from one that is known."""

    def load_data_list(self) -> list[dict]:
        return []


@TRANSFORMS.register_module()
class LoadOwnForm(LoadImageFromFile):
    """Reads files that no other program knows."""


@pytest.mark.parametrize('pipeline', [[], [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')]])
def test_a_good_set_passes(voc, pipeline):
    voc['pipeline'] = pipeline
    check_annotations(wrap(voc), HINT)
    assert check_images(DATASETS.build(wrap(voc))) == 12


def test_pictures_to_classify_are_decoded(shapes, tmp_path):
    for name in ('bolt', 'nut'):
        shutil.copytree(shapes / 'VOC2007/JPEGImages', tmp_path / 'val' / name)
    dataset = dict(type='mmpretrain.CustomDataset', data_root=str(tmp_path), data_prefix=dict(img_path='val'))
    check_annotations(dataset)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert check_images(DATASETS.build(dict(dataset, pipeline=[dict(type='LoadImageFromFile')]))) == 36


@pytest.mark.parametrize('kind', ['VOCDataset', 'mmdet.CocoDataset', 'ImageNet'])
def test_missing_set_tells_how_to_get_it(voc, kind):
    voc.update(type=kind, data_root='nowhere')
    with pytest.raises(InputError, match=f'nowhere/VOC2007.*{HINT}'):
        check_annotations(wrap(voc), HINT)


@pytest.mark.parametrize(
    'text',
    [
        '<annotation><object>',
        '',
        '<annotation><object><name>star</name></object></annotation>',
        '<annotation><size><width>wide</width><height>9</height></size></annotation>',
        xml(xmin='nan'),
        xml(xmin='inf'),
        xml(difficult='no'),
        xml(difficult=''),
        '<?xml version="1.0" encoding="none"?><annotation/>',
    ],
)
def test_broken_xml_is_named(voc, text):
    path = Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml'
    path.write_text(text)
    with pytest.raises(InputError, match='trainval_00003.xml is not valid VOC XML'):
        check_annotations(wrap(voc), HINT)


@pytest.mark.parametrize(('text', 'count'), [(xml(xmin='1.5', difficult=1), 1), (xml(name='other', xmin='nan'), 0)])
def test_what_mmdet_reads_passes(voc, text, count):
    path = Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml'
    path.write_text(text)
    check_annotations(voc, HINT)
    instances = DATASETS.build(voc).get_data_info(3)['instances']
    assert [instance['ignore_flag'] for instance in instances] == [1] * count


def test_a_binary_list_is_named(voc):
    (Path(voc['data_root']) / voc['ann_file']).write_bytes(b'\xff\xd8\xff\xe0')
    with pytest.raises(InputError, match=f'{voc["ann_file"]} is no text'):
        check_annotations(voc, HINT)


def test_missing_xml_is_named(voc):
    (Path(voc['data_root']) / 'VOC2007/Annotations/trainval_00003.xml').unlink()
    with pytest.raises(InputError, match='trainval_00003.xml is missing'):
        check_annotations(wrap(voc), HINT)


def test_classes_that_do_not_occur_are_named(voc, tmp_path):
    voc['metainfo'] = dict(classes=('Star', 'Circle'))
    with pytest.raises(InputError, match='Star, Circle; it has circle, square, star, triangle'):
        check_annotations(voc, HINT)
    voc['metainfo'] = dict(classes=str(tmp_path / 'classes.txt'))  # which mmengine reads
    (tmp_path / 'classes.txt').write_text('\n'.join(CLASSES))
    check_annotations(voc, HINT)
    assert check_images(DATASETS.build(voc)) == 12


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
        check_annotations(dict(type='CocoDataset', ann_file=str(path), metainfo=dict(classes=classes)), HINT)
    assert str(path) in str(caught.value)


def test_coco_pictures_without_annotations_pass(shapes, tmp_path):
    """As COCO publishes its test set."""
    content = json.loads((shapes / 'annotations/trainval.json').read_text())
    del content['annotations']
    (tmp_path / 'info.json').write_text(json.dumps(content))
    pictures = f'{shapes}/VOC2007/JPEGImages/'
    dataset = dict(type='CocoDataset', ann_file=str(tmp_path / 'info.json'), data_prefix=dict(img=pictures))
    dataset.update(metainfo=dict(classes=CLASSES), test_mode=True, pipeline=[])
    check_annotations(dataset)
    assert check_images(DATASETS.build(dataset)) == 12


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
    monkeypatch.setattr('menet_mm.datasets.doctor.start.MAX_IMAGES', 5)
    assert check_images(DATASETS.build(voc)) == 5


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (dict(data_root='s3://bucket/VOC'), 's3://bucket/VOC'),
        (dict(data_root='cluster:petrel://bucket/VOC'), 'petrel://'),
        (dict(data_root='', ann_file='https://example.org/list.txt'), 'https://example.org'),
        (dict(data_prefix=dict(sub_data_root='s3://bucket/VOC2007')), 's3://bucket/VOC2007'),
        (dict(data_root='nowhere', backend_args=dict(backend='petrel')), 'petrel'),
        (dict(type='CocoDataset', data_root='s3://bucket', ann_file='train.json'), 's3://bucket'),
        (dict(type='ImageNet', data_root='s3://bucket', ann_file=''), 's3://bucket'),
        (dict(type='CIFAR10', data_root='not-yet-downloaded', ann_file=''), 'CIFAR10'),
        (dict(type='mmpretrain.MNIST', data_root='not-yet-downloaded', ann_file=''), 'MNIST'),
        (dict(type='OwnLayout', data_root='nowhere'), 'OwnLayout'),
        (dict(type=OwnLayout, data_root='nowhere'), 'OwnLayout'),
        (dict(type='FromAnotherLibrary', data_root='nowhere'), 'FromAnotherLibrary'),
        (dict(type='ODVGDataset', data_root='nowhere', ann_file='train.jsonl'), 'ODVGDataset'),
    ],
)
def test_annotations_that_cannot_be_checked_are_skipped_in_one_line(voc, change, reason, said):
    check_annotations(wrap({**voc, **change}), HINT)
    assert len(said) == 1
    assert 'not checked' in said[0]
    assert reason in said[0]


class Torchs:
    """A data set that mmengine has no part in."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> np.ndarray:
        return np.zeros(3)


@pytest.mark.parametrize('kind', ['memory', 'remote', 'lmdb', 'own form', 'missing allowed', 'torch'])
def test_pictures_that_cannot_be_checked_are_skipped_in_one_line(voc, kind, said):
    """Alone, and beside a set that is checked."""
    loader = dict(
        lmdb=dict(type='LoadImageFromFile', backend_args=dict(backend='lmdb', db_path='x')),
        **{'own form': dict(type='LoadOwnForm'), 'missing allowed': dict(type='LoadImageFromFile', ignore_empty=True)},
    )
    if kind == 'memory':
        dataset = DATASETS.build(dict(type='InMemory'))
    elif kind == 'torch':
        dataset = Torchs()
    elif kind == 'remote':
        dataset = DATASETS.build(voc)
        dataset.get_data_info = lambda index: dict(img_path=f's3://bucket/{index}.jpg')
    else:
        shutil.rmtree(Path(voc['data_root']) / 'VOC2007/JPEGImages')
        dataset = DATASETS.build(dict(voc, pipeline=[loader[kind]]))
    said.clear()
    assert check_images(dataset) == 0
    assert len(said) == 1
    assert 'not checked' in said[0]


def test_a_mixture_is_checked_where_it_can_be(voc):
    mixed = SimpleNamespace(datasets=[DATASETS.build(dict(type='InMemory')), DATASETS.build(wrap(voc)), Torchs()])
    assert check_images(mixed) == 12
    (Path(voc['data_root']) / 'VOC2007/JPEGImages/trainval_00003.jpg').unlink()
    with pytest.raises(InputError, match='trainval_00003.jpg cannot be read'):
        check_images(mixed)


CIFAR10 = """
import hashlib
from pathlib import Path

from mmpretrain.datasets import CIFAR10
from mmpretrain.registry import DATASETS


def listed(name):
    return [name, hashlib.md5((Path('{root}/cifar-10-batches-py') / name).read_bytes()).hexdigest()]


@DATASETS.register_module()
class SmallCIFAR10(CIFAR10):
    train_list = test_list = [listed('batch')]
    meta = dict(filename='meta', key='label_names', md5=listed('meta')[1])
"""
CONFIG = """
_base_ = '{base}'
custom_imports = dict(imports=['small_cifar10'])
model = dict(head=dict(num_classes=10), data_preprocessor=dict(num_classes=10))
pipeline = [dict(type='Resize', scale=64), dict(type='PackInputs')]
dataset = dict(_delete_=True, type='SmallCIFAR10', data_root='{root}', pipeline=pipeline)
train_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dataset)
val_dataloader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dataset)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=1)
"""


@pytest.mark.slow
def test_mmpretrains_cifar10_trains(tool, tmp_path):
    """Its pictures lie in one pickled array, of which no path can be checked."""
    root = tmp_path / 'data/cifar-10-batches-py'
    root.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (8, 3072), np.uint8)
    (root / 'batch').write_bytes(pickle.dumps(dict(data=pictures, labels=list(range(8)))))
    (root / 'meta').write_bytes(pickle.dumps(dict(label_names=[str(i) for i in range(10)])))
    (tmp_path / 'small_cifar10.py').write_text(CIFAR10.format(root=root.parent))
    config = tmp_path / 'cifar10.py'
    config.write_text(CONFIG.format(base=Path('configs/menet108_in1k.py').absolute(), root=root.parent))
    log = tool('train.py', config, '--work-dir', tmp_path / 'work', PYTHONPATH=str(tmp_path)).stdout
    assert 'files of SmallCIFAR10 are not checked' in log
    assert 'the pictures of SmallCIFAR10 are not checked' in log
    assert (tmp_path / 'work/epoch_1.pth').is_file()


@pytest.mark.parametrize(
    ('recorded', 'classes', 'same'),
    [
        (('cat', 'dog'), ('cat', 'dog'), True),
        (('cat', 'dog'), ('dog', 'cat'), False),
        (('cat', 'dog'), ('cat', 'cow'), False),
        (('cat', 'dog'), ('cat', 'dog', 'cow'), False),
        (('black bear, Ursus americans', 'dog'), ('black bear, Ursus americanus', 'dog'), True),
        (('bolt_a', 'bolt_b'), ('bolt_b', 'bolt_c'), False),
    ],
)
def test_classes_that_a_checkpoint_was_trained_on(recorded, classes, same):
    """A spelling may differ, as it does between two versions of ImageNet's names, but no class may take another's place."""
    with nullcontext() if same else pytest.raises(InputError, match='set metainfo.classes'):
        check_recorded(recorded, classes, strict=True)
