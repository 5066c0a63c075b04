"""ExpandCrop against mmdet's Expand and MinIoURandomCrop: exactly the same results for the same seed."""

from functools import cache

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import Expand, MinIoURandomCrop
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.hub import get_config

from menet_mm.datasets.shapes import draw
from menet_mm.datasets.transforms import ExpandCrop, cut_out

EXPAND = dict(mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4))
FILTER = dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))


@cache
def generated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its boxes."""
    picture, shapes = draw(np.random.default_rng(seed), held_out=False)
    return picture, np.array([shape.box for shape in shapes], np.float32)


def example(seed: int, count: int | None = None) -> dict:
    """What the loading steps leave: a generated picture, with its own boxes or with ``count`` random ones."""
    picture, boxes = generated(seed % 20)
    if count is not None:
        h, w = picture.shape[:2]
        rng = np.random.default_rng(seed)
        sides = rng.uniform(0.2, 0.8, (count, 2)) * (w, h)  # no whole pixels
        corners = rng.uniform(0, (w, h) - sides)
        boxes = np.hstack([corners, corners + sides]).astype(np.float32)
    return dict(
        img=picture,
        img_shape=picture.shape[:2],
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.arange(len(boxes)),
        gt_ignore_flags=np.arange(len(boxes)) % 3 == 2,
    )


def both(seed: int, count: int | None, expand: dict, crop: dict) -> tuple[dict, dict]:
    """The results of mmdet's two steps and of ours, each with the next random number."""
    steps = ([Expand(**EXPAND | expand), MinIoURandomCrop(**crop)], [ExpandCrop(**EXPAND | expand, **crop)])
    found = []
    for transforms in steps:
        results = {**example(seed, count), 'homography_matrix': np.eye(3)}
        np.random.seed(seed)
        for transform in transforms:
            results = transform(results)
        found.append({**results, 'next': np.random.random_sample()})
    return found[0], found[1]


def assert_same(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        other = b[key]
        if isinstance(value, HorizontalBoxes):
            value, other = value.tensor, other.tensor
        assert np.array_equal(value, other), key
        assert getattr(value, 'dtype', None) == getattr(other, 'dtype', None), key


@pytest.mark.parametrize(
    ('count', 'expand', 'crop'),
    [
        (None, {}, {}),
        (0, {}, {}),
        (1, dict(ratio_range=(1, 2)), dict(bbox_clip_border=False)),
        (2, dict(prob=0.9), dict(min_ious=(0.7, 0.9))),
        (12, {}, dict(min_crop_size=0.6)),
    ],
)
def test_one_seed_gives_mmdets_result_bit_by_bit(count, expand, crop):
    changed = 0
    for seed in range(50):
        mmdets, ours = both(seed, count, expand, crop)
        assert_same(mmdets, ours)
        changed += ours['img_shape'] != example(seed)['img_shape']
    assert changed > 25


def test_the_pipeline_of_the_config_gives_what_mmdets_gives():
    ours = Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline
    a, b = (compose(pipeline) for pipeline in (mmdets_pipeline(), ours))
    for seed in range(30):
        packed = []
        for pipeline in (a, b):
            np.random.seed(seed)
            packed.append(pipeline(example(seed)))
        assert torch.equal(packed[0]['inputs'], packed[1]['inputs'])
        samples = [p['data_samples'] for p in packed]
        assert samples[0].metainfo == samples[1].metainfo
        for name in ('gt_instances', 'ignored_instances'):
            one, other = (sample.get(name) for sample in samples)
            assert torch.equal(one.bboxes.tensor, other.bboxes.tensor)
            assert torch.equal(one.labels, other.labels)


def mmdets_pipeline() -> list[dict]:
    """Of mmdet's own SSD config, with the filter that ours adds before packing."""
    *steps, pack = get_config('mmdet::ssd/ssd300_coco.py').train_pipeline
    return [*steps, FILTER, pack]


def compose(pipeline: list[dict]) -> Compose:
    """All steps but those that load files."""
    return Compose([{'_scope_': 'mmdet', **step} for step in pipeline if not step['type'].startswith('Load')])


def test_masks_and_maps_follow_the_boxes_as_in_mmdet():
    for seed in range(20):
        found = []
        for transforms in (
            [Expand(**EXPAND, seg_ignore_label=255), MinIoURandomCrop()],
            [ExpandCrop(**EXPAND, seg_ignore_label=255)],
        ):
            results = example(seed)
            shape = results['img_shape']
            masks = np.random.default_rng(seed).integers(0, 2, (len(results['gt_bboxes']), *shape), np.uint8)
            results.update(gt_masks=BitmapMasks(masks, *shape), gt_seg_map=masks[0])
            np.random.seed(seed)
            for transform in transforms:
                results = transform(results)
            results['gt_masks'] = results['gt_masks'].masks
            found.append(results)
        assert_same(*found)


@pytest.mark.parametrize('missing', ['img', 'gt_bboxes'])
def test_steps_in_the_wrong_order_are_named(missing):
    results = example(0)
    del results[missing]
    with pytest.raises(KeyError, match=missing):
        ExpandCrop(**EXPAND)(results)


@pytest.mark.parametrize('patch', [(2, 3, 9, 8), (-4, -5, 25, 20), (5, -9, 30, 4), (30, 3, 40, 9), (-9, -9, -2, 40)])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_a_patch_may_reach_beyond_the_picture(patch, dtype):
    image = np.random.default_rng(0).integers(0, 256, (12, 20, 3)).astype(dtype)
    colour = [103.53, 116.28, 123.675]
    canvas = np.full((100, 100, 3), colour, dtype)
    canvas[50:62, 50:70] = image
    x1, y1, x2, y2 = np.add(patch, 50)
    out = cut_out(image, patch, colour)
    assert out.dtype == dtype
    assert np.array_equal(out, canvas[y1:y2, x1:x2])


def test_repr_names_all_settings():
    text = repr(ExpandCrop(**EXPAND, min_ious=(0.2,)))
    assert 'ratio_range=(1, 4)' in text
    assert 'min_ious=(0.2,)' in text
