"""ExpandCrop against mmdet's Expand and MinIoURandomCrop: exactly for the same seed, in distribution for another."""

from functools import cache

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import Expand, MinIoURandomCrop
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from scipy.stats import ks_2samp

from benchmarks.pipelines import mmdet_ssd_pipeline
from menet_mm.datasets.shapes import draw
from menet_mm.datasets.transforms import ExpandCrop, cut_out

EXPAND = dict(mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4))
FILTER = dict(type='FilterAnnotations', min_gt_bbox_wh=(1, 1))
DRAWS = 500
BOXES = ('kept', 'x', 'y', 'w', 'h', 'zoom')


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


def both(seed: int, **kwargs) -> tuple[dict, dict]:
    """The results of mmdet's two steps and of ours, each with the next random number."""
    steps = ([Expand(**EXPAND), MinIoURandomCrop()], [ExpandCrop(**EXPAND)])
    found = []
    for transforms in steps:
        results = {**example(seed, **kwargs), 'homography_matrix': np.eye(3)}
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


@pytest.mark.parametrize('count', [None, 0, 1, 12])
def test_one_seed_gives_mmdets_result_bit_by_bit(count):
    changed = 0
    for seed in range(50):
        mmdets, ours = both(seed, count=count)
        assert_same(mmdets, ours)
        changed += ours['img_shape'] != example(seed)['img_shape']
    assert changed > 30


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
    *steps, last = mmdet_ssd_pipeline()
    return [*steps, FILTER, last]


def compose(pipeline: list[dict]) -> Compose:
    """All steps but those that load files."""
    return Compose([{'_scope_': 'mmdet', **step} for step in pipeline if not step['type'].startswith('Load')])


def statistics(pipeline: list[dict], seed: int) -> dict[str, np.ndarray]:
    """Figures of DRAWS pictures: of the boxes, and of the pixels by channel."""
    transform = compose(pipeline)
    np.random.seed(seed)
    rows = []
    for i in range(DRAWS):
        # Few patches cover enough of each of many boxes, so that settings of the crop would hardly show.
        packed = transform(example(i, count=1 + i % 2))
        pixels = packed['inputs'].numpy()
        found = packed['data_samples'].gt_instances
        (x, y), w, h = found.bboxes.centers[0].tolist(), found.bboxes.widths[0].item(), found.bboxes.heights[0].item()
        before = example(i, count=1 + i % 2)['gt_bboxes'][found.labels[0].item()]
        row = dict(kept=len(found), x=x, y=y, w=w, h=h, zoom=(w * h / before.areas.item()) ** 0.5)
        row |= {f'mean {c}': pixels[c].mean() for c in range(3)}
        row |= {f'std {c}': pixels[c].std() for c in range(3)}
        row |= {f'gradient {c}': np.abs(np.diff(pixels[c])).mean() for c in range(3)}
        rows.append(row)
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.fixture(scope='module')
def mmdets() -> dict[str, np.ndarray]:
    return statistics(mmdets_pipeline(), seed=0)


@pytest.fixture(scope='module')
def ours() -> dict[str, np.ndarray]:
    """With another seed than mmdet's: with the same one there would be no difference to test."""
    return statistics(Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline, seed=1)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    """p of the Kolmogorov-Smirnov test that both samples are of one distribution."""
    return ks_2samp(a, b, method='asymp').pvalue


def test_boxes_have_mmdets_distribution(mmdets, ours):
    for key in BOXES:
        assert agreement(mmdets[key], ours[key]) > 0.001, key


def test_pixels_have_mmdets_statistics(mmdets, ours):
    """Mean, standard deviation and gradient of the pictures; mmdet's own means of two seeds differ by up to 8 %."""
    for key in ours.keys() - set(BOXES):
        assert ours[key].mean() == pytest.approx(mmdets[key].mean(), rel=0.1), key
        assert agreement(mmdets[key], ours[key]) > 0.001, key


@pytest.mark.parametrize('change', [dict(min_ious=(0.7, 0.9)), dict(min_crop_size=0.6), dict(ratio_range=(1, 2))])
def test_another_distribution_would_be_noticed(mmdets, change):
    pipeline = Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline
    changed = [dict(step, **change) if step.type == 'menet_mm.ExpandCrop' else step for step in pipeline]
    found = statistics(changed, seed=1)
    assert min(agreement(mmdets[key], found[key]) for key in BOXES) < 0.001


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
