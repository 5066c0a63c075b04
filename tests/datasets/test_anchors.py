"""Anchors that fit boxes."""

import pytest
import torch
from mmdet.models.task_modules import SSDAnchorGenerator, YOLOAnchorGenerator
from mmengine.config import Config
from torchvision.ops import box_iou

from menet_mm import InputError
from menet_mm.datasets.anchors import fit_anchors, fit_sizes, share_missed

MAPS = [(20, 20), (10, 10)]
GENERATOR = dict(scale_major=False, strides=[16, 32], ratios=[[2], [2]], min_sizes=[32, 100], max_sizes=[60, 160])


def boxes_of(*kinds: tuple[float, float], each: int = 200, seed: int = 0) -> torch.Tensor:
    """Boxes of about these sizes, anywhere in a picture of 320 px."""
    rng = torch.Generator().manual_seed(seed)
    shapes = torch.tensor(kinds).repeat(each, 1) * (0.9 + 0.2 * torch.rand(each * len(kinds), 2, generator=rng))
    corners = torch.rand(len(shapes), 2, generator=rng) * (320 - shapes)
    return torch.cat([corners, corners + shapes], 1)


def test_anchors_take_the_shapes_of_the_boxes():
    """Long boxes, of which anchors with ratios of 2 find none."""
    boxes = boxes_of((150, 30), (40, 200))
    before = SSDAnchorGenerator(**GENERATOR)
    sizes = fit_sizes(boxes, before, MAPS, before.strides)
    assert [len(level) for level in sizes] == [4, 4]
    after = YOLOAnchorGenerator([16, 32], sizes)
    assert share_missed(boxes, before, MAPS) > 0.9
    others = boxes_of((150, 30), (40, 200), seed=1)
    assert share_missed(others, after, MAPS) < 0.2
    for width, height in sizes[0]:
        assert max(width / height, height / width) > 3


def test_a_map_with_few_boxes_keeps_its_anchors():
    before = SSDAnchorGenerator(**GENERATOR)
    small, large = fit_sizes(boxes_of((24, 24)), before, MAPS, before.strides)
    assert all(15 < side < 40 for shape in small for side in shape)
    assert sorted(large) == sorted([(100, 100), (126, 126), (141, 71), (71, 141)])


def test_kept_anchors_grow_with_the_input():
    before = SSDAnchorGenerator(**GENERATOR)
    _, large = fit_sizes(boxes_of((24, 24)), before, MAPS, [(32, 32), (64, 64)])
    assert (200, 200) in large


def test_boxes_are_missed_that_overlap_no_anchor_by_half():
    generator = SSDAnchorGenerator(**GENERATOR)
    anchors = torch.cat(generator.grid_priors(MAPS, device='cpu'))
    boxes = boxes_of((30, 30), (8, 8), (90, 120))
    expected = (box_iou(boxes, anchors).amax(1) < 0.5).float().mean()
    assert 0.3 < expected < 0.9
    assert share_missed(boxes, generator, MAPS) == pytest.approx(expected.item())


@pytest.fixture
def cfg(shapes) -> Config:
    cfg = Config.fromfile('configs/ssd_menet228_shapes.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
        loader.dataset.data_root = str(shapes)
    return cfg


def test_boxes_of_training_and_of_other_pictures_are_as_the_network_sees_them(cfg):
    """Drawn pictures have sides of 160 to 256 px; in the input of 160 px no box is larger."""
    fit = fit_anchors(cfg)
    assert fit.size == (160, 160)
    assert set(fit.shares) == {'training', 'held out'}
    # Six maps of six anchors a cell; a dozen pictures have too few boxes to change any.
    assert [len(level) for level in fit.sizes] == [6] * 6
    for count, before, after in fit.shares.values():
        assert count > 5
        assert before == pytest.approx(after, abs=0.1)


def test_pictures_of_several_sizes_are_refused(cfg):
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'Resize':
            step.keep_ratio = True
    with pytest.raises(InputError, match='keep_ratio=False'):
        fit_anchors(cfg)


def test_no_boxes_are_refused(cfg):
    cfg.train_dataloader.dataset.metainfo.classes = ('none', 'of', 'these', 'classes')
    cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt = False
    with pytest.raises(InputError, match='has no boxes'):
        fit_anchors(cfg)


def test_only_an_ssd_has_anchors_to_fit():
    with pytest.raises(InputError, match='for an SSD, not a FasterRCNN'):
        fit_anchors(Config.fromfile('configs/faster_rcnn_mobilenet025_voc.py'))
