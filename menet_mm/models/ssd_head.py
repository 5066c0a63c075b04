"""A working SSD head for mmdet 3, with a loss that does not keep a GPU waiting."""

from __future__ import annotations

import logging
from math import ceil
from typing import Any

import torch
from mmdet.models.dense_heads import SSDHead as MMDetSSDHead
from mmdet.models.task_modules import BboxOverlaps2D, DeltaXYWHBBoxCoder, MaxIoUAssigner, PseudoSampler
from mmdet.structures.bbox import get_box_tensor
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from menet_mm.errors import InputError
from menet_mm.registry import MODELS

from .ssd_loss import join, mean_over_processes, ssd_loss


@MODELS.register_module()
class SSDHead(MMDetSSDHead):
    """mmdet's SSDHead, mended so that it can predict, and with its loss computed for all pictures at once.

    To predict, ``BaseDenseHead`` asks ``self.loss_cls`` whether it brings an activation of its own; mmdet's SSDHead never
    sets it (https://github.com/open-mmlab/mmdetection/issues/11063).

    The loss is mmdet's. Where :func:`menet_mm.models.ssd_loss.ssd_loss` does not know a setting, mmdet's own code computes
    it, and the log says why.

    Args:
        background_negatives: how many background anchors a picture without objects adds to the loss. With 0, as in SSD and
            in mmdet, such pictures teach nothing.
        **kwargs: settings of mmdet's SSDHead.
    """

    loss_cls = None

    def __init__(self, background_negatives: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.background_negatives = background_negatives
        self._anchors: tuple[object, Tensor] | None = None
        self._reasons: set[str] = set()

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor | list[Tensor]]:
        """Compute the losses of a batch of N pictures.

        Args:
            cls_scores: for each level, (N, anchors of a cell * (classes + 1), H, W).
            bbox_preds: for each level, (N, anchors of a cell * 4, H, W).
            batch_gt_instances: ``bboxes`` in pixels and ``labels`` of each picture.
            batch_img_metas: facts about each picture.
            batch_gt_instances_ignore: ``bboxes`` to ignore in each picture, if there are any.

        Returns:
            ``loss_cls`` and ``loss_bbox``, summed over pictures, or a list of those of each picture.

        Raises:
            InputError: if ``background_negatives`` is set, and something else is that only mmdet's code knows.
        """
        sizes = [tuple(scores.shape[-2:]) for scores in cls_scores]
        ignored = batch_gt_instances_ignore or [None] * len(batch_gt_instances)
        if reason := unknown_setting(self) or unused_anchors(self, sizes, batch_img_metas):
            if self.background_negatives:
                raise InputError(f'background_negatives cannot be used with {reason}: change that, or leave it out')
            if reason not in self._reasons:
                self._reasons.add(reason)
                print_log(f'loss picture by picture, as in mmdet, due to {reason}', 'current', logging.WARNING)
            mean_over_processes(torch.ones((), device=cls_scores[0].device), falls_back=True)
            return super().loss_by_feat(cls_scores, bbox_preds, batch_gt_instances, batch_img_metas, ignored)
        device = cls_scores[0].device
        loss_cls, loss_bbox = ssd_loss(
            _flatten(cls_scores, self.cls_out_channels),
            _flatten(bbox_preds, 4),
            self._make_anchors(sizes, device),
            torch.cat([instances.labels for instances in batch_gt_instances]),
            join(batch_gt_instances, device),
            join(ignored, device),
            self.assigner,
            self.bbox_coder,
            self.train_cfg['neg_pos_ratio'],
            self.train_cfg['smoothl1_beta'],
            self.train_cfg['pos_weight'],
            self.background_negatives,
        )
        return dict(loss_cls=loss_cls, loss_bbox=loss_bbox)

    def _make_anchors(self, sizes: list[tuple[int, int]], device: torch.device) -> Tensor:
        """All anchors (A, 4); they are kept, since making them takes many small operators and waits for the GPU."""
        if self._anchors is None or self._anchors[0] != (sizes, device):
            levels = self.prior_generator.grid_priors(sizes, device=device)
            self._anchors = (sizes, device), torch.cat([get_box_tensor(level) for level in levels])
        return self._anchors[1]


def _flatten(maps: list[Tensor], channels: int) -> Tensor:
    """Maps (N, anchors of a cell * channels, H, W) of all levels as one tensor (N, A, channels)."""
    return torch.cat([level.permute(0, 2, 3, 1).reshape(len(level), -1, channels) for level in maps], 1)


def unknown_setting(head: SSDHead) -> str | None:
    """Name a setting of a head that :func:`ssd_loss` does not know, if there is one."""
    assigner, methods = head.assigner, ('get_targets', '_get_targets_single', 'loss_by_feat_single')
    unknown = {
        'a changed loss': any(getattr(type(head), name) is not getattr(MMDetSSDHead, name) for name in methods),
        'bbox_coder': type(head.bbox_coder) is not DeltaXYWHBBoxCoder,
        'reg_decoded_bbox': head.reg_decoded_bbox,
        'sampler': type(head.sampler) is not PseudoSampler,
        'allowed_border': head.train_cfg['allowed_border'] >= 0,
    }
    if type(assigner) is not MaxIoUAssigner:
        return 'assigner'
    unknown['assigner.gpu_assign_thr'] = assigner.gpu_assign_thr > 0
    unknown['assigner.neg_iou_thr'] = not isinstance(assigner.neg_iou_thr, float | tuple)
    unknown['assigner.perm_repeat_gt_cfg'] = assigner.perm_repeat_gt_cfg is not None
    calculator = assigner.iou_calculator
    unknown['assigner.iou_calculator'] = type(calculator) is not BboxOverlaps2D or calculator.dtype is not None
    return next((name for name, found in unknown.items() if found), None)


def unused_anchors(head: SSDHead, sizes: list[tuple[int, int]], metas: list[dict]) -> str | None:
    """Say so if some anchors lie outside a picture, and mmdet leaves them out: in a padded one, or with other strides."""
    strides = head.prior_generator.strides
    for height, width in {tuple(meta['pad_shape'][:2]) for meta in metas}:
        for (h, w), (stride_x, stride_y) in zip(sizes, strides, strict=True):
            if ceil(height / stride_y) < h or ceil(width / stride_x) < w:
                return 'pictures that are smaller than the maps at the strides of anchor_generator'
    return None
