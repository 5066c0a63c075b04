"""Learning rate schedules that follow the number of epochs."""

from collections.abc import Sequence
from typing import Any

from mmengine.optim import MultiStepLR

from menet_mm.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class RelativeMultiStepLR(MultiStepLR):
    """``MultiStepLR`` with milestones at ``fractions`` of ``end`` (at least 1), which mmengine sets to the number of epochs."""

    def __init__(self, *args: Any, fractions: Sequence[float], end: int, **kwargs: Any) -> None:
        super().__init__(*args, milestones=[max(1, round(part * end)) for part in fractions], end=end, **kwargs)
