"""Data and configs as people have them, through tools/train.py: they load, or one sentence says what to do, or a line counts.

Trainings have no epochs, so that all that comes before the first one is done.
"""

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from menet_mm.checkpoints import tensors_only

ROOT = Path(__file__).resolve().parents[2]
XML, LISTS, PICTURES = 'VOC2007/Annotations', 'VOC2007/ImageSets/Main', 'VOC2007/JPEGImages'
CLASSES = ('circle', 'square', 'triangle', 'star')
Change = Callable[[Path], None]


@pytest.fixture
def begin(tmp_path, monkeypatch) -> Callable[..., str]:
    """Run tools/train.py up to the first epoch; returns its log, or the sentence that it ends with."""

    def call(config: Path, root: Path | None = None, *options: str, command: str = 'train.py') -> str:
        work, loaders = tmp_path / 'work', [f'{split}_dataloader.dataset' for split in ('train', 'val', 'test')]
        given = [
            'train_cfg.max_epochs=0',
            'param_scheduler=None',
            f'experiment_name={tmp_path.name}',
            *([f'{loader}.data_root={root}' for loader in loaders] if root else []),
            *options,
        ]
        words = [command, config, '--work-dir', work, '--cfg-options', *given]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in words])
        monkeypatch.chdir(tmp_path)
        # What the log says of the machine and the config takes seconds.
        monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
        monkeypatch.setattr('mmengine.config.Config.pretty_text', '')
        said = []
        try:
            with tensors_only():
                runpy.run_path(str(ROOT / 'tools' / command), run_name='__main__')
        except SystemExit as ended:
            said.append(str(ended.code))
        if said:
            assert '\n' not in said[0]
            return said[0]
        return next(work.glob('*/*.log')).read_text()

    return call


@pytest.fixture
def copy(shapes, tmp_path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / 'set'))


@pytest.fixture
def detector(small_detector, tmp_path) -> Callable[[str], Path]:
    return lambda more='': small_detector(tmp_path / 'detector.py', more)


def xmls(change: Callable[[str], str], names: str = '*') -> Change:
    def do(root: Path) -> None:
        for path in (root / XML).glob(f'{names}.xml'):
            path.write_text(change(path.read_text()))

    return do


def lists(text: str, name: str = 'test') -> Change:
    return lambda root: (root / LISTS / f'{name}.txt').write_bytes(text.encode())


def sizes(value: int) -> Callable[[str], str]:
    return lambda text: re.sub(r'<(width|height)>\d+', rf'<\1>{value}', text)


def parts(text: str) -> str:
    return re.sub(r'<([xy]m..)>(\d+)', lambda found: f'<{found[1]}>{int(found[2]) / 300:.3f}', text)


def shrink(root: Path) -> None:
    for path in (root / PICTURES).glob('trainval_0000[0-2].jpg'):
        Image.open(path).resize((20, 20)).save(path)


def to_png(root: Path) -> None:
    for path in (root / PICTURES).glob('*.jpg'):
        Image.open(path).save(path.with_suffix('.PNG'))
        path.unlink()


def to_gb2312(text: str) -> str:
    return f'<?xml version="1.0" encoding="gb2312"?>\n{text.replace("<folder>", "<folder>数据", 1)}'


def gb2312(root: Path) -> None:
    path = root / XML / 'trainval_00000.xml'
    path.write_bytes(to_gb2312(path.read_text()).encode('gb2312'))


def turn(root: Path) -> None:
    for path in (root / PICTURES).glob('trainval_0000[0-2].jpg'):
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)


NO_OBJECT = xmls(lambda text: re.sub('<object>.*</object>', '', text, flags=re.DOTALL), 'test*')


def one_area(text: str) -> str:
    return re.sub(r'<xmax>\d+', '<xmax>1', text, count=1)


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (
            [xmls(sizes(0), 'trainval_0000[0-3]'), xmls(sizes(-1), 'trainval_0000[4-6]'), xmls(sizes(20), 'test*'), gb2312],
            ['7 annotations give another size than the picture has, which is taken', '6 annotations', 'train: 12 pictures'],
        ),
        (
            [shrink, lists('\ufefftest_00000\r\n test_00001 \r\n\r\ntest_00002.jpg\r\nVOC2007/JPEGImages/test_00003.jpg 1\r\n\r\n')],
            ['3 of 12 pictures of ', 'train: 9 pictures', '2 lines have', 'val: 4 pictures'],
        ),
        (
            [xmls(parts, 'trainval_00000'), xmls(one_area, 'trainval_0000[1-4]'), xmls(lambda text: text.replace('>circle<', '>circle <')), NO_OBJECT],
            ['boxes look like parts of the side', '4 boxes have no area', 'names of classes have blanks', 'val: there are no objects'],
        ),
        (
            [xmls(lambda text: text.replace('difficult>0', 'difficult>1').replace('>star<', '>Star<')), to_png],
            ['all objects are difficult', "'Star' ('star' is meant?)", 'val: 6 pictures'],
        ),
        (
            [lambda root: shutil.copy(root / LISTS / 'trainval.txt', root / LISTS / 'test.txt')],
            ['are in the train set and in the val set'],
        ),
    ],
)  # fmt: skip
def test_voc_that_loads(begin, detector, copy, changes, expected):
    for change in changes:
        change(copy)
    log = begin(detector(), copy)
    assert [line for line in expected if line not in log] == []
    assert re.search(r'train: \d+ pictures, \d+ objects', log)


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (xmls(parts), 'parts of the side, of 0 to 1'),
        (lists(''), 'test.txt is empty'),
        (lists('test_00000\nnone such\n'), "test.txt, line 2: 'none such'"),
        (lists('test_00000\ntest_00000\n'), 'stand more than once in the val set'),
        (turn, '3 pictures of'),
        (xmls(lambda text: f'<!DOCTYPE a [<!ENTITY b "c">]>{text}', 'trainval_00003'), 'declares entities'),
    ],
)
def test_voc_that_is_refused(begin, detector, copy, change, expected):
    change(copy)
    said = begin(detector(), copy)
    assert said.startswith('error: ')
    assert expected in said


WRAPPED = """
inner = dict(_base_.train_dataloader.dataset, data_root=data['data_root'])
train_dataloader = dict(dataset=dict(type='RepeatDataset', times=3, dataset=inner))
"""
TENSORBOARD = """
backends = [dict(type='LocalVisBackend'), dict(type='NoneSuchVisBackend')]
visualizer = dict(_scope_='mmdet', type='DetLocalVisualizer', vis_backends=backends, name='of_its_own')
"""
METAINFO = "for loader in (train_dataloader, val_dataloader):\n    loader['dataset'] = dict(loader['dataset'], {})\n"
ORDER = "val_dataloader['dataset'] = dict(val_dataloader['dataset'], metainfo=dict(classes={}))"


@pytest.mark.parametrize(
    ('more', 'expected'),
    [
        (ORDER.format(CLASSES[::-1]), f'in another order than train_dataloader.dataset: write classes={CLASSES}'),
        (ORDER.format((*CLASSES[:3], 'moon')), "has no 'star' and has 'moon'"),
        (ORDER.format((*CLASSES[:3], 'circle')), "names the class 'circle' more than once"),
        (METAINFO.format('metainfo=dict(_delete_=True, CLASSES=(1, 2))'), 'write metainfo=dict(classes=...)'),
        (METAINFO.format('classes=(1, 2)'), 'write metainfo=dict(classes=(...)) instead'),
        (WRAPPED, 'write _delete_=True'),
        (TENSORBOARD, 'NoneSuchVisBackend'),
        ("val_evaluator = dict(_delete_=True, type='mmdet.CocoMetric', metric='bbox')", "add 'instances' to the meta_keys"),
        ('input_size = 16', 'must be a number of pixels from 32 on, but is 16'),
        ("train_dataloader['batch_size'] = 1", 'set train_dataloader.batch_size to 2 or more'),
        ("train_dataloader.update(batch_size=11, drop_last=False)", 'set train_dataloader.drop_last=True'),
        ("custom_hooks = [dict(type='EMAHook')]\nmodel['bbox_head']['num_classes'] = 9", 'num_classes is 9'),
    ],
)  # fmt: skip
def test_configs_that_are_refused(begin, detector, more, expected):
    said = begin(detector(more))
    assert said.startswith('error: ')
    assert expected in said


def test_configs_that_work(begin, detector, tmp_path):
    """Classes in a text file, with a byte order mark; no workers by --cfg-options."""
    (tmp_path / 'classes.txt').write_bytes('\ufeffcircle\r\nsquare\r\ntriangle\r\nstar\r\n\r\n'.encode())
    more = METAINFO.format(f'metainfo=dict(classes={str(tmp_path / "classes.txt")!r})')
    more += 'train_dataloader.update(num_workers=2, persistent_workers=True)\n'
    log = begin(detector(more), None, 'train_dataloader.num_workers=0')
    assert re.search('train: 12 pictures.*circle', log)


def test_boxes_that_no_anchor_reaches_are_counted(begin, detector):
    generator = "model['bbox_head']['anchor_generator'].update(min_sizes=[2, 3, 4, 5], max_sizes=[3, 4, 5, 6])"
    assert 'no anchor overlaps 100.0% by an IoU of 0.5: fit the anchors' in begin(detector(generator))


COCO = """
_base_ = {base!r}
classes = {classes}
coco = dict(
    _delete_=True, _scope_='mmdet', type='CocoDataset', metainfo=dict(classes=classes),
    data_root={root!r}, data_prefix=dict(img='VOC2007/JPEGImages/'),
)
model = dict(bbox_head=dict(num_classes=len(classes)))
train_dataloader = dict(dataset=dict(
    ann_file='annotations/trainval.json', filter_cfg=dict(filter_empty_gt=True, min_size=32), pipeline=_base_.train_pipeline, **coco))
val_dataloader = dict(dataset=dict(ann_file='annotations/test.json', test_mode=True, pipeline=_base_.test_pipeline, **coco))
test_dataloader = val_dataloader
val_evaluator = dict(_delete_=True, _scope_='mmdet', type='CocoMetric', ann_file={ann_file!r}, metric='bbox')
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
"""


@pytest.fixture
def coco(detector, copy, tmp_path) -> Callable[..., Path]:
    """Write a config on COCO files, of which one is changed first."""

    def write(*changes: Callable[[dict], None], classes: tuple = CLASSES, slash: str = '/') -> Path:
        path = copy / 'annotations/trainval.json'
        content = json.loads(path.read_text())
        for change in changes:
            change(content)
        path.write_text(json.dumps(content))
        ann_file, root = f'{copy}{slash}annotations/test.json', f'{copy}{slash}'
        config = tmp_path / 'coco.py'
        config.write_text(COCO.format(base=str(detector()), classes=classes, root=root, ann_file=ann_file))
        return config

    return write


def every(key: str, **values: object) -> Callable[[dict], None]:
    """Drop a key of all annotations, or set others."""

    def change(content: dict) -> None:
        for entry in content['annotations']:
            entry.pop(key, None)
            entry.update(values)

    return change


def masks(content: dict) -> None:
    for entry in content['annotations']:
        x, y, w, h = entry.pop('bbox')
        entry['segmentation'] = [[x, y, x + w, y, x + w, y + h, x, y + h]]


def no_sizes(content: dict) -> None:
    for image in content['images']:
        del image['width'], image['height']


def strings(content: dict) -> None:
    for entry in content['annotations']:
        entry['image_id'] = str(entry['image_id'])


def orphans(content: dict) -> None:
    for entry in content['annotations'][::2]:
        entry['image_id'] = 999


def root_category(content: dict) -> None:
    content['categories'].insert(0, dict(id=100, name='star', supercategory='none'))


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (
            [every('area'), every('iscrowd'), every('', id=7), no_sizes],
            ['have no area', 'have no iscrowd', 'have the id of another one', '12 images have no width and height'],
        ),
        ([masks, strings, root_category], ['have a mask alone', '1 categories without objects', 'train: 12 pictures']),
        ([orphans], ['annotations belong to no image']),
        ([every('', bbox=[0.1, 0.2, 0.3, 0.4])], ['error: no picture of', 'parts of the side']),
        ([every('bbox')], ['error: ', 'has no bbox of four numbers']),
    ],
)
def test_coco_files(begin, coco, changes, expected):
    log = begin(coco(*changes), None, 'train_dataloader.batch_size=2')
    assert [line for line in expected if line not in log] == []


def test_a_data_root_without_a_slash(begin, coco):
    assert 'val: 6 pictures' in begin(coco(slash=''))


def test_coco_pictures_that_exif_turns(begin, coco, copy):
    turn(copy)
    assert 'are turned by EXIF, and their boxes are not' in begin(coco())


def test_the_evaluators_file_must_be_the_loaders(begin, coco, copy):
    config = coco()
    config.write_text(config.read_text().replace("test.json', metric", "trainval.json', metric"))
    assert 'is not of the same pictures as' in begin(config)


def test_two_categories_of_one_name_with_objects(begin, coco):
    def rename(content: dict) -> None:
        for category in content['categories'][:2]:
            category['name'] = 'star'

    assert 'of one name' in begin(coco(rename, classes=('star', 'triangle')))


def folders(names: tuple[str, ...], ending: str, root: Path) -> None:
    for split in ('train', 'val'):
        for place, name in enumerate(names):
            (root / split / name).mkdir(parents=True)
            for number in range(3):
                Image.new('RGB', (64, 64), (place * 60, number * 60, 99)).save(
                    root / split / name / f'{number}{ending}'
                )


@pytest.fixture
def classifier(small_classifier, tmp_path) -> Callable[..., Path]:
    """Write a config, and three folders of pictures."""

    def write(more: str = '', ending: str = '.jpg', names: tuple[str, ...] = ('cat', 'dog', 'owl')) -> Path:
        folders(names, ending, tmp_path / 'data')
        text = f"data_preprocessor['num_classes'] = model['head']['num_classes'] = {len(names)}\n{more}"
        return small_classifier(tmp_path / 'classifier.py', text)

    return write


LISTED = "for loader, name in ((train_dataloader, 'train'), (val_dataloader, 'val')):\n"
LISTED += "    loader['dataset'] = dict(loader['dataset'], ann_file=f'{name}.txt', data_prefix=name, metainfo=dict(classes=('cat', 'dog', 'owl')))\n"


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('cat/0.jpg 1\ndog/0.jpg 2\nowl/0.jpg 3\n', 'seem to count from 1'),
        ('cat/0.jpg 0\ndog/0.jpg 1\nowl/0.jpg 2\n\n', 'train: 3 pictures: cat 1, dog 1, owl 1'),
        ('\ufeffcat/0.jpg cat\r\ndog/0.jpg dog\r\nowl/0.jpg owl\r\n', 'train: 3 pictures: cat 1, dog 1, owl 1'),
        ('cat/0.jpg cat\ndog/0.jpg hund\n', "train.txt, line 2: the label is 'hund'"),
        ('cat/0.jpg\n', 'train.txt, line 1'),
        ('\n', 'train.txt is empty'),
    ],
)
def test_lists_of_labels(begin, classifier, tmp_path, text, expected):
    config = classifier(LISTED)
    (tmp_path / 'data/train.txt').write_bytes(text.encode())
    (tmp_path / 'data/val.txt').write_text('cat/0.jpg 0\n')
    assert expected in begin(config, tmp_path / 'data')


@pytest.mark.parametrize(
    ('more', 'expected'),
    [
        ("train_dataloader['dataset'] = dict(data, metainfo=dict(classes=('owl', 'cat', 'dog')))", "write classes=('cat', 'dog', 'owl')"),
        ("train_dataloader['dataset'] = dict(data, metainfo=dict(classes=('cat', 'dog', 'owl')))", 'train: 9 pictures: cat 3'),
        ("train_dataloader['dataset'] = dict(data, metainfo=dict(classes=('Katze', 'Hund', 'Eule')))", 'unlike train_dataloader'),
        ("val_evaluator = dict(topk=(1, 5))\ntest_evaluator = val_evaluator", 'train: 9 pictures: cat 3'),
    ],
)  # fmt: skip
def test_folders_of_classes(begin, classifier, tmp_path, more, expected):
    assert expected in begin(classifier(more), tmp_path / 'data')


def test_hidden_folders_are_no_classes_and_webp_are_pictures(begin, classifier, tmp_path):
    config = classifier(ending='.webp')
    (tmp_path / 'data/train/.ipynb_checkpoints').mkdir()
    (tmp_path / 'data/val/cat/.ipynb_checkpoints').mkdir()
    shutil.copy(tmp_path / 'data/val/cat/0.webp', tmp_path / 'data/val/cat/.ipynb_checkpoints')
    log = begin(config, tmp_path / 'data')
    assert 'train: 9 pictures: cat 3, dog 3, owl 3' in log
    assert 'val: 9 pictures: cat 3, dog 3, owl 3' in log


def test_a_class_folder_that_one_split_lacks(begin, classifier, tmp_path):
    config = classifier()
    shutil.rmtree(tmp_path / 'data/val/owl')
    assert "val_dataloader.dataset has no 'owl'" in begin(config, tmp_path / 'data')


def test_top_5_of_three_classes_is_left_out(classifier, tmp_path):
    from menet_mm.engine.launch import check_data
    from menet_mm.utils.config import read_config

    cfg = read_config(classifier('val_evaluator = dict(topk=(1, 5))'), {f'{s}_dataloader.dataset.data_root': str(tmp_path / 'data') for s in ('train', 'val', 'test')})  # fmt: skip
    check_data(cfg, 'train', 'val')
    assert cfg.val_evaluator.topk == (1,)


@pytest.mark.parametrize(
    ('recorded', 'expected'), [(CLASSES[::-1], 'in another order'), (('a', 'b', 'c', 'd'), 'of other names')]
)
def test_the_checkpoints_own_classes(begin, detector, tmp_path, recorded, expected, monkeypatch):
    from mmdet.registry import MODELS

    from menet_mm.utils.config import read_config

    config = detector()
    state = MODELS.build(read_config(config).model).state_dict()
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=recorded))), tmp_path / 'other.pth')
    words = ['test.py', str(config), str(tmp_path / 'other.pth'), '--work-dir', str(tmp_path / 'work')]
    monkeypatch.setattr(sys, 'argv', words)
    with tensors_only(), pytest.raises(SystemExit, match=expected):
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    if expected == 'in another order':
        assert expected in begin(config, None, f'load_from={tmp_path / "other.pth"}')


def test_amp_without_a_gpu(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    torch.save({}, tmp_path / 'x.pth')
    monkeypatch.setattr(sys, 'argv', ['test.py', str(detector()), str(tmp_path / 'x.pth'), '--amp'])
    with tensors_only(), pytest.raises(SystemExit, match='--amp needs a GPU'):
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
