"""An exported model in the place of a trained one, so that ``tools/test.py`` measures what a device will run."""

import cv2
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData

from menet_mm.errors import InputError
from menet_mm.registry import MODELS
from menet_mm.utils.tiles import tiled

from .runner import Runner


@MODELS.register_module()
class ExportedModel(BaseModel):
    """Predict with :class:`Runner`, whose arguments it has and whose preprocessing: pictures are read from their files.

    With ``tile`` a detector looks at tiles of so many pixels, too, which share ``overlap``, see ``utils.tiles``.
    """

    def __init__(
        self,
        path: str,
        precision: str = 'fp32',
        threads: int | None = None,
        tile: int | None = None,
        overlap: float = 0.2,
    ) -> None:
        super().__init__()
        self.runner = Runner(path, threads, precision)
        self._predict = lambda image: self.runner(image)[0]
        if tile is not None:
            self._predict = tiled(self._predict, tile, overlap)
        if self.runner.classes:
            self.num_classes = len(self.runner.classes)  # InputCheckHook compares it with the data

    def forward(self, *args: object, **kwargs: object) -> None:
        raise InputError(f'{self.runner.path} is an exported model, which cannot be trained: give a checkpoint')

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Add predictions to the samples of a batch, in pixels of the original pictures."""
        for sample in data['data_samples']:
            found = self._predict(cv2.imread(sample.img_path))
            found = {name: torch.from_numpy(value) for name, value in found.items()}
            if 'boxes' in found:
                sample.pred_instances = InstanceData(bboxes=found.pop('boxes'), **found)
            else:
                sample.set_pred_score(found['scores']).set_pred_label(found['scores'].argmax())
        return data['data_samples']

    val_step = test_step
