"""Every config is built: model, pipelines, hooks, and one step of training on a tiny batch."""

import math
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.registry import HOOKS, METRICS, MODELS, TRANSFORMS, VISUALIZERS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

from menet_mm.datasets.doctor.start import leaf_configs
from menet_mm.datasets.shapes import CLASSES

CONFIGS = sorted(Path('configs').glob('*.py'))


def small_imagenet(folder: Path) -> None:
    """Write two random pictures of two classes, in a folder for each, and lists as of ILSVRC, whose labels these are."""
    rng = np.random.default_rng(0)
    (folder / 'meta').mkdir()
    for split in ('train', 'val'):
        for label in (0, 999):
            (folder / f'{split}/{label}').mkdir(parents=True)
            cv2.imwrite(f'{folder}/{split}/{label}/0.jpg', rng.integers(0, 255, (300, 260, 3), np.uint8))
        (folder / f'meta/{split}.txt').write_text('0/0.jpg 0\n999/0.jpg 999\n')


def use_generated_data(cfg: Config, shapes: Path, tmp_path: Path) -> None:
    """Point every data set to generated pictures; their classes are a part of the head's."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        for leaf in leaf_configs(loader.dataset):
            if leaf.type in ('ImageNet', 'CustomDataset'):
                leaf.data_root = str(tmp_path)
            else:
                leaf.update(data_root=str(shapes), metainfo=dict(classes=CLASSES))
                # The generated set has one year and two lists.
                if 'ImageSets' in leaf.ann_file:
                    listed = 'trainval' if split == 'train' else 'test'
                    leaf.ann_file = f'VOC2007/ImageSets/Main/{listed}.txt'
                if 'sub_data_root' in leaf.get('data_prefix', {}):
                    leaf.data_prefix = dict(sub_data_root='VOC2007/')
                for step in leaf.pipeline:
                    if step.get('scale') == (1000, 600):  # Faster R-CNN takes seconds for a picture on a CPU
                        step.scale = (400, 240)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_trains_one_step(path, shapes, tmp_path):
    cfg = Config.fromfile(path)
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmpretrain':
        small_imagenet(tmp_path)
    use_generated_data(cfg, shapes, tmp_path)

    VISUALIZERS.build(dict(cfg.visualizer, name=path.stem))  # the visualization hook asks for the latest one
    for hook in (*cfg.default_hooks.values(), *cfg.custom_hooks):
        HOOKS.build({key: value for key, value in hook.items() if key != 'priority'})  # the runner reads that key
    if cfg.val_evaluator.type != 'CocoMetric':  # reads its file when it is built
        METRICS.build(cfg.val_evaluator)
    # The backbone's pretrained weights are a download.
    cfg.model.backbone.pop('init_cfg', None)
    torch.manual_seed(0)
    if cfg.default_scope == 'mmpretrain':
        cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()

    batch = next(iter(Runner.build_dataloader(cfg.train_dataloader, seed=0)))
    losses = model.train()(**model.data_preprocessor(batch, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    batch = next(iter(Runner.build_dataloader(cfg.test_dataloader, seed=0)))
    with torch.inference_mode():
        results = model.eval()(**model.data_preprocessor(batch), mode='predict')
    assert len(results) == len(batch['inputs'])


def test_a_classifier_of_few_classes_starts_at_chance(tmp_path):
    """With the initialization for 1000 classes the loss of five is above 10."""
    cfg = Config.fromfile('configs/menet108_finetune.py')
    init_default_scope('mmpretrain')
    cfg.model.backbone.pop('init_cfg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    pictures = torch.randn(10, 3, 224, 224)
    samples = [DataSample().set_gt_label(i % 5) for i in range(10)]
    assert float(model(pictures, samples, mode='loss')['loss']) == pytest.approx(math.log(5), abs=0.5)


def test_leaves_are_thin():
    """At most two leaves above one, and about 30 lines; a whole data set, of COCO's form, takes the most."""
    for path in CONFIGS:
        assert len(path.read_text().splitlines()) <= 36, path
        hops, leaf = 0, path
        while found := re.search(r"^_base_ = '(\w+\.py)'$", leaf.read_text(), re.MULTILINE):
            hops, leaf = hops + 1, leaf.with_name(found[1])
        assert hops <= 2, path


def test_the_best_checkpoint_is_chosen_by_a_named_metric():
    """mmengine's 'auto' takes the first value, which is that of one class for COCO with classwise=True."""
    best = dict(VOCMetric='pascal_voc/mAP', CocoMetric='coco/bbox_mAP', Accuracy='accuracy/top1')
    for path in CONFIGS:
        cfg = Config.fromfile(path)
        assert cfg.default_hooks.checkpoint.save_best == best[cfg.val_evaluator.type], path


def test_all_published_variants_have_their_three_configs():
    names = {path.stem for path in CONFIGS}
    for width in (108, 128, 160, 228, 256, 348, 352, 456):
        assert {f'menet{width}_in1k', f'ssd_menet{width}_voc', f'faster_rcnn_menet{width}_voc'} <= names


@pytest.mark.parametrize(
    'path', [p for p in CONFIGS if p.stem.startswith(('ssd_', 'faster_rcnn_'))], ids=lambda path: path.stem
)
def test_boxes_below_a_pixel_never_reach_a_loss(path):
    cfg = Config.fromfile(path)
    for leaf in leaf_configs(cfg.train_dataloader.dataset):
        steps = [step.type for step in leaf.pipeline]
        filters = [step for step in leaf.pipeline if step.type == 'FilterAnnotations']
        assert filters
        assert filters[-1].min_gt_bbox_wh == (1, 1)
        assert steps.index('FilterAnnotations') > steps.index('Resize')


@pytest.mark.parametrize('name', ['ssd_menet108_voc', 'faster_rcnn_menet108_voc'])
def test_imagenet_features_enter_through_the_documented_key(name, tmp_path):
    """What docs/training.md says, with a classifier's checkpoint; every tensor of the backbone must come from it."""
    init_default_scope('mmpretrain')
    classifier = MODELS.build(Config.fromfile('configs/menet108_in1k.py').model)
    classifier.init_weights()
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'classifier.pth')
    cfg = Config.fromfile(f'configs/{name}.py')
    key = 'model.backbone.init_cfg'
    options = {
        f'{key}.type': 'Pretrained',
        f'{key}.checkpoint': f'{tmp_path}/classifier.pth',
        f'{key}.prefix': 'backbone.',
    }
    cfg.merge_from_dict(options)
    init_default_scope('mmdet')
    detector = MODELS.build(cfg.model)
    detector.init_weights()
    for tensor_name, tensor in classifier.backbone.state_dict().items():
        assert torch.equal(detector.backbone.state_dict()[tensor_name], tensor), tensor_name


def test_a_box_of_zero_size_is_dropped():
    """Real data has such boxes; mmdet's box coder makes -inf of them."""
    init_default_scope('mmdet')
    pipeline = Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline
    keep = [step for step in pipeline if step.type in ('Resize', 'FilterAnnotations')]
    results = dict(
        img=np.zeros((100, 100, 3), np.uint8),
        img_shape=(100, 100),
        gt_bboxes=HorizontalBoxes(torch.tensor([[10.0, 10, 10, 40], [10, 10, 50, 50], [20, 20, 20.2, 20.2]])),
        gt_bboxes_labels=np.array([0, 1, 2]),
        gt_ignore_flags=np.zeros(3, bool),
    )
    for step in keep:
        results = TRANSFORMS.build(step)(results)
    assert results['gt_bboxes_labels'].tolist() == [1]
    assert results['gt_bboxes'].tensor.tolist() == [[30, 30, 150, 150]]
