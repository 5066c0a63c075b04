"""mmdet's metric for COCO files, with classes in the config's order."""

from mmdet.evaluation import CocoMetric as Theirs

from menet_mm.datasets.libraries import Notes
from menet_mm.datasets.libraries.detection import CocoFile
from menet_mm.registry import METRICS


@METRICS.register_module()
class CocoMetric(Theirs):
    """mmdet's ``CocoMetric``, where label i means class i of the data set, in whatever order the file has its categories.

    What the file leaves out, such as ``iscrowd``, is made up as ``menet_mm.CocoDataset`` does.
    """

    def __init__(self, ann_file: str | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        if ann_file is not None:
            self._coco_api = CocoFile(ann_file, Notes())  # the data set has said what is made up

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute as mmdet does, with categories in the order of their numbers, as pycocotools has them."""
        if self._coco_api is not None:
            self.cat_ids = sorted(self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes']))
        return super().compute_metrics(results)

    def results2json(self, results: list, outfile_prefix: str) -> dict:
        """Write the predictions; label i becomes the number of class i."""
        kept = self.cat_ids
        self.cat_ids = self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes'])
        try:
            return super().results2json(results, outfile_prefix)
        finally:
            self.cat_ids = kept
