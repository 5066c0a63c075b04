"""Anchors of an SSD that fit a data set, by k-means as in YOLOv2 (https://arxiv.org/abs/1612.08242).

Shapes: K boxes (x1, y1, x2, y2) in pixels of what the network takes, A anchors.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import islice

import torch
from mmdet.models import SSDHead
from mmdet.models.task_modules import AnchorGenerator, YOLOAnchorGenerator
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from menet_mm.datasets.doctor.start import leaf_configs
from menet_mm.errors import InputError
from menet_mm.models.ssd_loss import overlaps

#: An anchor finds a box if their intersection is at least this part of their union.
REACH = 0.5
#: Of larger sets this many pictures are read.
MAX_PICTURES = 5000
#: A map gets new anchors if it has this many boxes for each; fewer say little.
ENOUGH = 10


@dataclass
class Fit:
    """What :func:`fit_anchors` found.

    Attributes:
        size: (h, w) that the network takes.
        shares: by name of a set of pictures, the number of its boxes and the share of them that no anchor finds, before and
            after.
        sizes: (w, h) of the anchors of each map.
        strides: (x, y) of each map, in pixels.
    """

    size: tuple[int, int]
    shares: dict[str, tuple[int, float, float]]
    sizes: list[list[tuple[int, int]]]
    strides: list[tuple[int, int]]

    def to_config(self) -> str:
        """The lines for a config."""
        lines = ['model = dict(', '    bbox_head=dict(', *(f'        {line}' for line in self.to_generator())]
        return '\n'.join([*lines, '    )', ')'])

    def to_generator(self) -> list[str]:
        """The lines for the anchor generator alone."""
        strides = [x if x == y else (x, y) for x, y in self.strides]
        lines = ['anchor_generator=dict(', '    _delete_=True,', "    type='YOLOAnchorGenerator',"]
        lines += [f'    strides={strides},', '    base_sizes=[', *(f'        {level},' for level in self.sizes)]
        return [*lines, '    ],', '),']


def fit_anchors(cfg: Config) -> Fit:
    """Fit the anchors of an SSD to the boxes of its training pictures, as its training pipeline turns them out.

    Args:
        cfg: a detector's config; data sets and network are built from it.

    Returns:
        As many anchors a cell as the first map has now, and strides that spread them over the picture. A map for which there
        are not enough boxes keeps its anchors.

    Raises:
        InputError: if the config is no SSD's, its pictures have several sizes, or there are no boxes.
    """
    model = build_model(cfg)
    if not isinstance(getattr(model, 'bbox_head', None), SSDHead):
        raise InputError(
            f'anchors are fitted for an SSD, not a {type(model).__name__}: choose one such as ssd_menet128_voc'
        )
    boxes, size = read_boxes(cfg.train_dataloader)
    held_out, other_size = read_boxes(as_the_network_sees(cfg.val_dataloader))
    if size != other_size:
        raise InputError(
            f'training takes pictures of {size} and testing of {other_size} (h, w): give both Resize one scale'
        )
    with torch.no_grad():
        maps = [tuple(level.shape[-2:]) for level in model.extract_feat(torch.zeros(1, 3, *size))]
    before = model.bbox_head.prior_generator
    strides = [(round(size[1] / w), round(size[0] / h)) for h, w in maps]
    sizes = fit_sizes(boxes, before, maps, strides)
    after = YOLOAnchorGenerator(strides, sizes)
    shares = {
        name: (len(found), *(share_missed(found, generator, maps) for generator in (before, after)))
        for name, found in {'training': boxes, 'held out': held_out}.items()
    }
    return Fit(size, shares, sizes, strides)


def build_model(cfg: Config) -> nn.Module:
    """Build a detector without loading weights."""
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    model_cfg = deepcopy(cfg.model)
    model_cfg.backbone.pop('init_cfg', None)
    return MODELS.build(model_cfg).eval()


def as_the_network_sees(dataloader: dict) -> dict:
    """Let a data loader read boxes before it resizes pictures; for evaluation they stay in pixels of the files."""
    dataloader = deepcopy(dataloader)
    for leaf in leaf_configs(dataloader.dataset):
        if 'pipeline' in leaf:
            leaf.pipeline = sorted(
                leaf.pipeline, key=lambda step: {'LoadImageFromFile': 0, 'LoadAnnotations': 1}.get(step.type, 2)
            )
    return dataloader


def read_boxes(dataloader: dict) -> tuple[Tensor, tuple[int, int]]:
    """Read the boxes (K, 4) of up to :data:`MAX_PICTURES` pictures, and the (h, w) that all of these have.

    Raises:
        InputError: if their sizes differ, or there is no box.
    """
    loader = Runner.build_dataloader(deepcopy(dataloader), seed=0)
    boxes, sizes = [], set()
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    for batch in islice(loader, -(-MAX_PICTURES // size)):
        boxes += [get_box_tensor(sample.gt_instances.bboxes) for sample in batch['data_samples']]
        sizes |= {tuple(picture.shape[-2:]) for picture in batch['inputs']}
    if len(sizes) > 1:
        raise InputError(
            f'pictures of {len(sizes)} sizes reach the network, but SSD takes one: set keep_ratio=False in Resize'
        )
    found = torch.cat(boxes) if boxes else torch.zeros(0, 4)
    found = found[(found[:, 2:] > found[:, :2]).all(1)]
    if not len(found):
        raise InputError('the data set has no boxes to fit anchors to: look at its classes and annotation files')
    return found, sizes.pop()


def fit_sizes(
    boxes: Tensor, generator: AnchorGenerator, maps: list[tuple[int, int]], strides: list[tuple[int, int]]
) -> list[list[tuple[int, int]]]:
    """Choose the (w, h) of the anchors of each map, as many a cell as the first map has.

    A box belongs to the coarsest map on which an anchor of its own size finds it wherever it lies, or to the finest map.
    k-means of a map's boxes gives candidates. Taken are those that find most of the boxes that no coarser map has found.
    """
    count = generator.num_base_priors[0]
    shapes = boxes[:, 2:] - boxes[:, :2]
    home = torch.zeros(len(shapes), dtype=torch.long)
    for level, stride in enumerate(strides):
        # At worst, box and anchor are half a stride apart in x and in y.
        common = (1 - torch.tensor(stride) / 2 / shapes).clamp(min=0).prod(1)
        home[common / (2 - common) >= REACH] = level
    found = torch.zeros(len(shapes), dtype=torch.bool)
    sizes = []
    for level in reversed(range(len(maps))):
        own, place = shapes[home == level], (strides[level], maps[level])
        if len(own) < ENOUGH * count:
            kept = generator.base_anchors[level][torch.arange(count) % generator.num_base_priors[level]]
            # Another input size than the anchors were made for gives other strides.
            scale = torch.tensor(strides[level]) / torch.tensor(generator.strides[level])
            chosen = (kept[:, 2:] - kept[:, :2]) * scale
        else:
            candidates = cluster(own, 5 * count)
            chosen = candidates[choose(overlaps_on_map(boxes, candidates, *place), found, count)]
        found |= (overlaps_on_map(boxes, chosen, *place) >= REACH).any(1)
        sizes.append([(max(1, round(w)), max(1, round(h))) for w, h in chosen[chosen.prod(1).argsort()].tolist()])
    return sizes[::-1]


def choose(parts: Tensor, found: Tensor, count: int) -> Tensor:
    """Choose ``count`` candidates by their overlaps (K, candidates), that find most boxes besides those ``found`` (K,)."""
    reached, found = parts >= REACH, found.clone()
    chosen: list[int] = []
    for _ in range(count):
        # Of candidates that find as many, the one that overlaps all boxes more.
        gain = (reached & ~found[:, None]).sum(0) + parts.mean(0)
        gain[chosen] = -1
        chosen.append(int(gain.argmax()))
        found |= reached[:, chosen[-1]]
    return torch.tensor(chosen)


def overlaps_on_map(boxes: Tensor, shapes: Tensor, stride: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """IoU (K, shapes) of boxes (K, 4) with the anchor of each shape (w, h) in the nearest cell of a map of size (h, w)."""
    steps, last = torch.tensor(stride), torch.tensor(size[::-1]) - 1
    cells = ((boxes[:, :2] + boxes[:, 2:]) / 2 / steps).floor().clamp(min=0).minimum(last)
    centres = ((cells + 0.5) * steps)[:, None]
    low = torch.maximum(boxes[:, None, :2], centres - shapes / 2)
    high = torch.minimum(boxes[:, None, 2:], centres + shapes / 2)
    common = (high - low).clamp(min=0).prod(2)
    return common / ((boxes[:, 2:] - boxes[:, :2]).prod(1, keepdim=True) + shapes.prod(1) - common)


def cluster(shapes: Tensor, count: int) -> Tensor:
    """k-means of shapes (K, 2), w and h, by the IoU of boxes with one centre; returns (count, 2)."""
    starts = ((torch.arange(count) + 0.5) / count * len(shapes)).long()
    centres = shapes[shapes.prod(1).argsort()[starts]]
    nearest = torch.full((len(shapes),), -1)
    for _ in range(100):
        previous, nearest = nearest, _overlaps_of_shapes(shapes, centres).argmax(1)
        if torch.equal(previous, nearest):
            break
        for number in nearest.unique().tolist():
            centres[number] = shapes[nearest == number].median(0).values
    return centres


def _overlaps_of_shapes(shapes: Tensor, centres: Tensor) -> Tensor:
    return overlaps(*(torch.cat([-sides, sides], 1) for sides in (shapes, centres)))


def share_missed(boxes: Tensor, generator: AnchorGenerator, maps: list[tuple[int, int]]) -> float:
    """The share of boxes (K, 4) that no anchor on maps of these (h, w) finds."""
    anchors = torch.cat([get_box_tensor(level) for level in generator.grid_priors(maps, device='cpu')])
    best = [overlaps(part, anchors).amax(1) for part in boxes.split(500)]
    return (torch.cat(best) < REACH).double().mean().item()


def missed_now(model: nn.Module, dataset: object) -> tuple[int, float] | None:
    """The number of boxes of a built data set, and the share that no anchor of a detector finds, without augmentation.

    None if it is no SSD, has no boxes, or its pictures are not all resized to one size.
    """
    leaves = [leaf for leaf in leaf_configs(dataset) if isinstance(leaf, BaseDataset)]
    steps = [step for leaf in leaves for step in leaf.pipeline.transforms if type(step).__name__ == 'Resize']
    sizes = {tuple(step.scale) for step in steps if getattr(step, 'scale', None) and not step.keep_ratio}
    if len(sizes) != 1 or len(steps) != len(leaves):
        return None
    (size,) = sizes
    rows = []
    for info in (leaf.get_data_info(index) for leaf in leaves for index in range(min(len(leaf), MAX_PICTURES))):
        scale = [size[0] / info['width'], size[1] / info['height']] * 2
        rows += [[value * part for value, part in zip(item['bbox'], scale, strict=True)] for item in info['instances']]
    return share_of_missed(model, rows, size)


@torch.no_grad()
def share_of_missed(model: nn.Module, boxes: list[list[float]], size: tuple[int, int]) -> tuple[int, float] | None:
    """The number of boxes (x1, y1, x2, y2) with an area, in pixels of an input of (w, h), and the share that no anchor finds.

    None if the model is no SSD, or there are none.
    """
    found = torch.tensor(boxes).reshape(-1, 4).float()
    found = found[(found[:, 2:] > found[:, :2]).all(1)]
    if not isinstance(getattr(model, 'bbox_head', None), SSDHead) or not len(found):
        return None
    training = model.training
    picture = torch.zeros(1, 3, *size[::-1], device=next(model.parameters()).device)
    maps = [tuple(level.shape[-2:]) for level in model.eval().extract_feat(picture)]
    model.train(training)
    return len(found), share_missed(found, model.bbox_head.prior_generator, maps)
