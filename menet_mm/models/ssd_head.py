"""A working SSD head for mmdet 3."""

from __future__ import annotations

from mmdet.models.dense_heads import SSDHead as MMDetSSDHead

from menet_mm.registry import MODELS


@MODELS.register_module()
class SSDHead(MMDetSSDHead):
    """mmdet's SSDHead, mended so that it can predict.

    To predict, ``BaseDenseHead`` asks ``self.loss_cls`` whether it brings an activation of its own; mmdet's SSDHead never
    sets it (https://github.com/open-mmlab/mmdetection/issues/11063).
    """

    loss_cls = None
