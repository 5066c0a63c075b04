"""An exported model in the place of a trained one, so that ``tools/test.py`` measures what a device will run."""

from __future__ import annotations

import cv2
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData

from menet_mm.errors import InputError
from menet_mm.registry import MODELS

from .runner import Runner


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Predict with :class:`menet_mm.deploy.Runner`, its own preprocessing included: pictures are read from their files.

    Args:
        path: exported model.
        precision: as of the runner.
        threads: as of the runner.

    Raises:
        InputError: as the runner.
    """

    def __init__(self, path: str, precision: str = 'fp32', threads: int | None = None) -> None:
        super().__init__()
        self.runner = Runner(path, threads, precision)
        if self.runner.classes:
            self.num_classes = len(self.runner.classes)  # InputCheckHook compares it with the data

    def forward(self, *args: object, **kwargs: object) -> None:
        """Not there: an exported model can only be tested.

        Raises:
            InputError: always.
        """
        raise InputError(f'{self.runner.path} is an exported model, which cannot be trained: give a checkpoint')

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Add predictions to the samples of a batch, in pixels of the original pictures."""
        for sample in data['data_samples']:
            found = self.runner(cv2.imread(sample.img_path))[0]
            scores = torch.from_numpy(found['scores'])
            if 'boxes' in found:
                boxes, labels = torch.from_numpy(found['boxes']), torch.from_numpy(found['labels'])
                sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
            else:
                sample.set_pred_score(scores).set_pred_label(scores.argmax())
        return data['data_samples']

    val_step = test_step
