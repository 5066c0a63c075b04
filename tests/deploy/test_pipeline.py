"""What an exported model does with pictures, against the config's own test pipeline and data preprocessor."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope

from menet_mm import InputError
from menet_mm.deploy.exporter import describe
from menet_mm.deploy.pipeline import own_preprocess, preprocess_steps
from menet_mm.deploy.runner import preprocess
from menet_mm.deploy.runtimes import RUNTIMES

PACK = dict(mmpretrain=dict(type='PackInputs'), mmdet=dict(type='PackDetInputs', meta_keys=('img_path',)))
PREPROCESSORS = dict(mmpretrain='ClsDataPreprocessor', mmdet='DetDataPreprocessor')
NORMAL = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def make_config(steps: list[dict], scope: str = 'mmpretrain', **preprocessor: object) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), *steps, PACK[scope]]
    sets = dict(mmpretrain='CustomDataset', mmdet='VOCDataset')
    dataset = dict(type=sets[scope], _scope_=scope, data_root='none/', pipeline=pipeline)
    if scope == 'mmdet':
        dataset |= dict(ann_file='none/VOC2007/none.txt', data_prefix=dict(sub_data_root='VOC2007/'))
    return Config(
        dict(
            default_scope=scope,
            model=dict(data_preprocessor=dict(type=PREPROCESSORS[scope], **preprocessor)),
            test_dataloader=dict(dataset=dataset),
        ),
        filename=__file__,
    )


def assert_prepared_as_in_training(cfg: Config, tmp_path, *shapes: tuple[int, int]) -> None:
    init_default_scope(cfg.default_scope)
    own = MODELS.build(cfg.model.data_preprocessor)
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    classifier = SimpleNamespace(outputs=('logits',))
    description = describe(cfg, classifier, RUNTIMES['onnxruntime'], {})
    rng = np.random.default_rng(0)
    for height, width in shapes:
        # Blocks, so that a pixel more or less is seen.
        image = rng.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8).repeat(3, 0).repeat(3, 1)
        image = np.ascontiguousarray(image[:height, :width])
        cv2.imwrite(str(tmp_path / 'picture.png'), image)
        data = pseudo_collate([pipeline(dict(img_path=str(tmp_path / 'picture.png'), img_id=0))])
        wanted = own(data)['inputs'][0].numpy()
        assert wanted.shape[1:] == description.size
        assert np.array_equal(preprocess(image, description), wanted)
        assert np.array_equal(own_preprocess(cfg, SimpleNamespace(data_preprocessor=own))(image)[0], wanted)


EDGES = [
    [dict(type='ResizeEdge', scale=48, edge=edge, backend=backend), dict(type='CenterCrop', crop_size=crop)]
    for edge, crop in [
        ('short', 40),
        ('short', (44, 30)),
        ('long', (20, 25)),
        ('width', (48, 30)),
        ('height', (30, 48)),
    ]
    for backend in ('cv2', 'pillow')
]
STEPS = [
    *EDGES,
    [dict(type='ResizeEdge', scale=48), dict(type='CenterCrop', crop_size=40)],
    [
        dict(type='mmpretrain.ResizeEdge', scale=48, interpolation='bilinear'),
        dict(type='CenterCrop', crop_size=(40, 33)),
    ],
    [dict(type='CenterCrop', crop_size=(32, 24))],
    [dict(type='CenterCrop', crop_size=(21, 36), auto_pad=False)],
    [dict(type='Resize', scale=(50, 34), keep_ratio=False)],
    [dict(type='Resize', scale=(50, 34), backend='pillow', interpolation='bilinear')],
    [dict(type='Resize', scale=33)],
    [dict(type='Resize', scale=(50, 34)), dict(type='CenterCrop', crop_size=(40, 60))],
    [dict(type='CenterCrop', crop_size=(32, 24)), dict(type='ResizeEdge', scale=48, edge='long')],
    [
        dict(type='CenterCrop', crop_size=(32, 24)),
        dict(type='Resize', scale=(20, 41)),
        dict(type='Resize', scale=(7, 9)),
    ],
]


@pytest.mark.parametrize('steps', STEPS, ids=str)
def test_each_step_is_the_librarys(tmp_path, steps):
    cfg = make_config(steps, to_rgb=True, **NORMAL)
    assert_prepared_as_in_training(cfg, tmp_path, (60, 80), (80, 60), (51, 51), (101, 73), (36, 41))


@pytest.mark.parametrize('name', ['menet108_in1k', 'menet108_tiny100', 'ssd_menet108_voc12'])
def test_our_configs(tmp_path, name):
    cfg = Config.fromfile(f'configs/{name}.py')
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    cfg.model.data_preprocessor.setdefault('type', 'ClsDataPreprocessor')
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [step for step in pipeline if step.type != 'LoadAnnotations']
    shapes = [(17, 23), (64, 64), (224, 224), (320, 320), (256, 259), (259, 256), (400, 60), (375, 500)]
    assert_prepared_as_in_training(cfg, tmp_path, *shapes)


@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(NORMAL, bgr_to_rgb=True),
        dict(NORMAL, bgr_to_rgb=False),
        dict(NORMAL, rgb_to_bgr=True),
        dict(NORMAL, pad_size_divisor=16),
        dict(mean=[0, 0, 0], std=[1, 1, 255]),
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
def test_detectors_and_normalization(tmp_path, preprocessor, backend):
    steps = [dict(type='Resize', scale=(64, 48), keep_ratio=False, backend=backend)]
    assert_prepared_as_in_training(make_config(steps, 'mmdet', **preprocessor), tmp_path, (60, 80), (48, 64))


@pytest.mark.parametrize('preprocessor', [dict(NORMAL, to_rgb=False), dict(to_rgb=True), {}], ids=str)
def test_classifiers_and_normalization(tmp_path, preprocessor):
    steps = [dict(type='CenterCrop', crop_size=20)]
    assert_prepared_as_in_training(make_config(steps, **preprocessor), tmp_path, (60, 80))


@pytest.mark.parametrize(
    ('steps', 'sentence'),
    [
        ([], 'the test pipeline gives no fixed size: add CenterCrop or Resize to it, such as'),
        ([dict(type='ResizeEdge', scale=256)], 'the test pipeline gives no fixed size: add CenterCrop or Resize'),
        (
            [dict(type='Resize', scale=(9, 9), keep_ratio=True)],
            'Resize of the test pipeline has keep_ratio=True: export',
        ),
        ([dict(type='Resize', scale_factor=0.5)], 'Resize of the test pipeline has scale_factor=0.5: export cannot do'),
        (
            [dict(type='Resize', scale=9, interpolation='bicubic')],
            "Resize of the test pipeline has interpolation='bicubic'",
        ),
        (
            [dict(type='ResizeEdge', scale=9, backend='tifffile')],
            "ResizeEdge of the test pipeline has backend='tifffile'",
        ),
        (
            [dict(type='ResizeEdge', scale=9, edge='longest')],
            'the test pipeline has .*longest.*, but the edge of Step cannot be',
        ),
        ([dict(type='CenterCrop', crop_size=9, auto_pad=True)], 'CenterCrop of the test pipeline has auto_pad=True'),
        (
            [dict(type='CenterCrop', crop_size=0)],
            'the test pipeline has .*CenterCrop.*, but the size of Step cannot be',
        ),
        ([dict(type='Resize', scale=(9, 9, 9))], 'the test pipeline has .*9, 9, 9.*, but the size of Step cannot be'),
        ([dict(type='RandomFlip', prob=1.0)], 'the test pipeline has RandomFlip: export knows ResizeEdge, Resize, '),
        ([dict(type='Resize', scale=(48, 40))], 'pictures of 48 x 40 would be padded to multiples of 16: resize to'),
    ],
    ids=str,
)
def test_what_cannot_be_described_is_named(steps, sentence):
    with pytest.raises(InputError, match=sentence):
        preprocess_steps(make_config(steps, pad_size_divisor=16))


def test_wrapped_test_sets():
    cfg = make_config([dict(type='CenterCrop', crop_size=(32, 24))])
    leaf = cfg.test_dataloader.dataset
    twice = dict(type='RepeatDataset', times=2, dataset=leaf)
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[leaf, twice])
    assert preprocess_steps(cfg)[1] == (24, 32)
    init_default_scope('mmpretrain')
    assert describe(cfg, SimpleNamespace(outputs=('logits',)), RUNTIMES['ncnn'], {}).size == (24, 32)
    other = make_config([dict(type='CenterCrop', crop_size=24)]).test_dataloader.dataset
    cfg.test_dataloader.dataset.datasets.append(other)
    with pytest.raises(
        InputError, match='the test sets have different pipelines: export needs a config whose test sets'
    ):
        preprocess_steps(cfg)
    for loader in (None, dict(dataset=dict(type='CustomDataset'))):
        with pytest.raises(InputError, match='the config has no test pipeline: set test_dataloader.dataset.pipeline'):
            preprocess_steps(Config(dict(test_dataloader=loader)))
