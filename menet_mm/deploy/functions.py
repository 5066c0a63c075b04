"""Classifiers and SSD detectors as functions of one tensor, which is what other runtimes take."""

from math import log

import torch
from torch import Tensor, nn

from menet_mm.errors import InputError


class Logits(nn.Module):
    """A classifier as a function of one tensor: (N, 3, h, w) -> logits (N, C)."""

    outputs = ('logits',)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        return self.model(image, mode='tensor')


class RawDetections(nn.Module):
    """MMDetection's SSD up to NMS: (N, 3, h, w) -> boxes (N, A, 4) in pixels of the input, and scores (N, A, C)."""

    outputs = ('boxes', 'scores')

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size
        with torch.inference_mode():
            maps, _ = model.bbox_head(model.extract_feat(torch.zeros(1, 3, *size)))
        priors = model.bbox_head.prior_generator.grid_priors([m.shape[-2:] for m in maps], device='cpu')
        self.anchors = [len(level) for level in priors]  # A in all
        low, high = torch.cat(priors).split(2, dim=1)
        self.register_buffer('prior_size', high - low)
        self.register_buffer('prior_centre', (high + low) / 2)
        self.register_buffer('means', low.new_tensor(model.bbox_head.bbox_coder.means))
        self.register_buffer('stds', low.new_tensor(model.bbox_head.bbox_coder.stds))
        self.largest = log(1000 / 16)  # mmdet.structures.bbox.delta2bbox lets a box grow by no more than this

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        maps, deltas = self.model.bbox_head(self.model.extract_feat(image))
        classes = self.model.bbox_head.cls_out_channels
        scores = torch.cat([m.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, classes)) for m in maps], dim=1)
        deltas = torch.cat([d.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for d in deltas], dim=1)
        deltas = deltas * self.stds + self.means
        centre = self.prior_centre + deltas[..., :2] * self.prior_size
        half = self.prior_size * deltas[..., 2:].clamp(-self.largest, self.largest).exp() / 2
        low, high = centre - half, centre + half
        x1, x2 = (side[..., 0].clamp(0, self.size[1]) for side in (low, high))
        y1, y2 = (side[..., 1].clamp(0, self.size[0]) for side in (low, high))
        return torch.stack([x1, y1, x2, y2], dim=-1), scores.softmax(-1)[..., :-1]  # the last class is the background


def check_exportable(model: nn.Module) -> None:
    """Raise InputError unless a model is a classifier or an SSD detector of the usual kind."""
    kind, head = type(model).__name__, type(getattr(model, 'bbox_head', None)).__name__
    if kind == 'ImageClassifier':
        return
    if head != 'SSDHead':
        name = kind if head == 'NoneType' else f'{kind} with {head}'
        form = "run it in PyTorch with menet_mm.deploy.to_deploy(model, 'torch')"
        raise InputError(f'{name} cannot be exported, classifiers and SSD can: {form}')
    coder, nms = model.bbox_head.bbox_coder, model.test_cfg.nms
    if type(coder).__name__ != 'DeltaXYWHBBoxCoder' or coder.add_ctr_clamp or not coder.clip_border:
        known = 'DeltaXYWHBBoxCoder, clip_border and no add_ctr_clamp'
        raise InputError(f'export knows SSD with {known}: change bbox_coder')
    if nms.get('type', 'nms') != 'nms' or nms.keys() - {'type', 'iou_threshold'}:
        raise InputError(f'export knows SSD with plain NMS of each class, but test_cfg.nms is {dict(nms)}: change it')


def make_function(model: nn.Module, size: tuple[int, int]) -> Logits | RawDetections:
    """Make a function of (N, 3, h, w) out of a model or its :func:`to_deploy` form. InputError as :func:`check_exportable`."""
    check_exportable(model)
    return Logits(model) if type(model).__name__ == 'ImageClassifier' else RawDetections(model, size)
