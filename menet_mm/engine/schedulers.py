"""Learning rate schedules that follow the number of epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.optim import MultiStepLR

from menet_mm.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class RelativeMultiStepLR(MultiStepLR):
    """``MultiStepLR`` whose milestones are parts of the training, so that they move with ``train_cfg.max_epochs``.

    Args:
        fractions: milestones as fractions of ``end``, rounded to whole steps and at least 1.
        end: last step; mmengine fills in the number of epochs.
    """

    def __init__(self, *args: Any, fractions: Sequence[float], end: int, **kwargs: Any) -> None:
        super().__init__(*args, milestones=[max(1, round(part * end)) for part in fractions], end=end, **kwargs)
