"""A detector that is tested on overlapping tiles of each picture, as ``tools/infer.py --tile`` runs it."""

from collections.abc import Sequence

import torch
from mmengine.dataset import Compose
from mmengine.model import BaseTTAModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import nn

from menet_mm.registry import MODELS
from menet_mm.utils.tiles import check_tiles, make_windows, merge

BATCH = 8  # tiles at once


@MODELS.register_module()
class TiledModel(BaseTTAModel):
    """Predict with a detector of MMDetection on tiles of ``side`` pixels that share ``overlap`` of it, and on whole pictures.

    ``module`` is the detector or its config. ``pipeline`` is the test pipeline: its first step loads a picture from its file,
    and the others, without annotations, are carried out on each tile. InputError if there can be no such tiles.
    """

    def __init__(self, module: nn.Module | dict, pipeline: list[dict], side: int, overlap: float = 0.2) -> None:
        check_tiles(side, overlap)
        super().__init__(module)
        steps = [step for step in pipeline[1:] if not step['type'].endswith('LoadAnnotations')]
        self._load, self._prepare = Compose(pipeline[:1]), Compose(steps)
        self._tiles = side, overlap

    def test_step(self, data: dict) -> list[BaseDataElement]:
        """Add predictions to the samples of a batch, in pixels of the original pictures."""
        samples = data['data_samples']
        for sample in samples:
            views = self._cut(sample.img_path)
            parts = [views[start : start + BATCH] for start in range(0, len(views), BATCH)]
            batches = [{key: [view[key] for view in part] for key in part[0]} for part in parts]
            found = [view for batch in batches for view in self.module.test_step(batch)]
            (sample.pred_instances,) = self.merge_preds([found])
        return samples

    def merge_preds(self, data_samples_list: Sequence[Sequence[BaseDataElement]]) -> list[InstanceData]:
        """Merge what was found in the tiles of each picture."""
        merged = []
        for views in data_samples_list:
            found = [view.pred_instances.cpu().numpy() for view in views]
            parts = [dict(boxes=each.bboxes, scores=each.scores, labels=each.labels) for each in found]
            side, overlap = self._tiles
            whole = merge(parts, [view.window for view in views], side * overlap)
            tensors = {name: torch.from_numpy(value) for name, value in whole.items()}
            merged.append(InstanceData(bboxes=tensors.pop('boxes'), **tensors))
        return merged

    def _cut(self, path: str) -> list[dict]:
        """Load a picture and prepare its tiles for the detector."""
        image = self._load(dict(img_path=path))['img']
        views = []
        for window in make_windows(*image.shape[1::-1], *self._tiles):
            x1, y1, x2, y2 = window
            size = (y2 - y1, x2 - x1)
            tile = dict(img=image[y1:y2, x1:x2].copy(), img_shape=size, ori_shape=size, img_id=path, img_path=path)
            views.append(self._prepare(tile))
            views[-1]['data_samples'].set_metainfo(dict(window=window))
        return views
