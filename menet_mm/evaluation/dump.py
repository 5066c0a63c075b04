"""Writing predictions, as tensors and plain values that ``torch.load(weights_only=True)`` reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, DumpResults
from torch import Tensor

from menet_mm.utils.files import atomic_path


def dump_metric(scope: str, path: str) -> BaseMetric:
    """Build the metric that writes predictions to a file, in the form of ``torch.save``.

    Args:
        scope: ``mmdet`` or ``mmpretrain``; a detector's predictions are written without ground truth, masks compressed.
        path: file to write, ``.pkl`` or ``.pickle``. It is there complete or not at all.

    Returns:
        A metric that writes a list with a dict for each picture.
    """
    return DumpTensors(scope, out_file_path=path)


class DumpTensors(DumpResults):
    """mmengine's or mmdet's dump of predictions, in another format."""

    def __init__(self, scope: str, **kwargs: str) -> None:
        super().__init__(**kwargs)
        self.scope = scope

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the predictions of a batch."""
        if self.scope == 'mmdet':
            from mmdet.evaluation import DumpDetResults

            DumpDetResults.process(self, data_batch, data_samples)
        else:
            super().process(data_batch, data_samples)

    def compute_metrics(self, results: list[dict]) -> dict:
        """Write the file."""
        with atomic_path(self.out_file_path) as partial:
            torch.save(_plain(results), partial)
        return {}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, np.ndarray | Tensor):
        return torch.as_tensor(value).detach().clone()  # torch.save would write all the memory of which it is a part
    if isinstance(value, np.generic):
        return value.item()
    return value.decode('ascii') if isinstance(value, bytes) else value  # a compressed mask, as COCO's JSON has it
