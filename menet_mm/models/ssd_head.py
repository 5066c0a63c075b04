"""A working SSD head for mmdet 3."""

from __future__ import annotations

from mmdet.models.dense_heads import SSDHead as MMDetSSDHead

from menet_mm.registry import MODELS


@MODELS.register_module()
class SSDHead(MMDetSSDHead):
    """mmdet's SSDHead, mended so that it can predict.

    ``BaseDenseHead._predict_by_feat_single`` reads ``self.loss_cls``, which mmdet's SSDHead never sets because it skips
    ``AnchorHead.__init__`` and computes its losses by function
    (https://github.com/open-mmlab/mmdetection/issues/11063). None is what the reader needs: it only asks whether the
    loss brings an activation of its own.
    """

    loss_cls = None
