"""Writing predictions, as tensors and plain values that ``torch.load(weights_only=True)`` reads."""

import numpy as np
import torch
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.registry import METRICS
from mmengine.utils import apply_to
from torch import Tensor

from menet_mm.utils.files import atomic_path


def dump_metric(scope: str, path: str) -> BaseMetric:
    """Build the metric that writes predictions, a dict for each picture, to ``path`` (.pkl); of mmdet without ground truth."""

    class DumpTensors(METRICS.get('mmdet.DumpDetResults') if scope == 'mmdet' else DumpResults):
        default_prefix = 'predictions'  # of no values; mmengine warns of a metric without one

        def compute_metrics(self, results: list[dict]) -> dict:
            with atomic_path(self.out_file_path) as partial:
                torch.save(apply_to(results, lambda value: True, _plain), partial)
            return {}

    return DumpTensors(out_file_path=path)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | Tensor):
        return torch.as_tensor(value).detach().clone()  # torch.save would write all the memory of which it is a part
    if isinstance(value, np.generic):
        return value.item()
    return value.decode('ascii') if isinstance(value, bytes) else value  # a compressed mask, as COCO's JSON has it
