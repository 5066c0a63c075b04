"""Learning rate schedules that follow the number of epochs."""

from collections.abc import Sequence
from typing import Any

from mmengine.optim import MultiStepLR

from menet_mm.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class RelativeMultiStepLR(MultiStepLR):
    """``MultiStepLR`` whose milestones are ``fractions`` of ``end``, rounded to whole steps and at least 1.

    mmengine sets ``end`` to the number of epochs, so they move with ``train_cfg.max_epochs``.
    """

    def __init__(self, *args: Any, fractions: Sequence[float], end: int, **kwargs: Any) -> None:
        super().__init__(*args, milestones=[max(1, round(part * end)) for part in fractions], end=end, **kwargs)
