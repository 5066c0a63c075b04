"""mmdet's transforms of SSD's recipe, faster: the same random numbers, the same boxes, the same pixels."""

from collections.abc import Sequence

import cv2
import numpy as np
from mmdet.datasets.transforms import Expand, MinIoURandomCrop
from mmdet.structures.bbox import autocast_box_type
from numpy import random

from menet_mm.registry import TRANSFORMS

Box = Sequence[float]  # x1, y1, x2, y2; of a patch, whole pixels, x2 and y2 exclusive


@TRANSFORMS.register_module()
class ExpandCrop(MinIoURandomCrop):
    """mmdet's ``Expand``, with the arguments ``expand``, and ``MinIoURandomCrop``, with the other ones, in one step.

    The patch is chosen first, against boxes as plain numbers instead of tensors, and made without the rest of the canvas, which
    takes a fraction of the time. With masks or segmentation maps, mmdet's own steps run.
    """

    def __init__(
        self,
        min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
        bbox_clip_border: bool = True,
        **expand: object,
    ) -> None:
        super().__init__(min_ious, min_crop_size, bbox_clip_border)
        self.expand = Expand(**expand)

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Change picture (H, W, 3), boxes, labels and flags; raises ``KeyError`` without ``img`` or ``gt_bboxes``."""
        if results.get('gt_masks') is not None or results.get('gt_seg_map') is not None:
            return super().transform(self.expand(results))
        image, boxes = results['img'], results['gt_bboxes']
        left, top, height, width = 0, 0, *image.shape[:2]  # of the picture on the canvas; of the canvas
        if self.expand._random_prob() <= self.expand.prob:
            ratio = self.expand._random_ratio()
            left, top = self.expand._random_left_top(ratio, height, width)
            height, width = int(height * ratio), int(width * ratio)
        boxes.translate_([left, top])
        rows = boxes.tensor.tolist()
        patch = self._random_patch(rows, height, width)
        x1, y1, x2, y2 = patch or (0, 0, width, height)
        if patch:
            kept = np.array([_has_centre(patch, box) for box in rows], bool)
            for key in ('gt_bboxes', 'gt_ignore_flags', 'gt_bboxes_labels'):
                if results.get(key) is not None:
                    results[key] = results[key][kept]
            results['gt_bboxes'].translate_([-x1, -y1])
            if self.bbox_clip_border:
                results['gt_bboxes'].clip_([y2 - y1, x2 - x1])
        results['img'] = cut_out(image, (x1 - left, y1 - top, x2 - left, y2 - top), self.expand.mean)
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _random_patch(self, boxes: list[Box], height: int, width: int) -> Box | None:
        """Choose a patch of the canvas by mmdet's rules; None for all of it."""
        while (min_iou := self._random_mode()) != 1:
            for _ in range(50):
                w = _uniform(self.min_crop_size * width, width)
                h = _uniform(self.min_crop_size * height, height)
                if not 0.5 <= h / w <= 2:
                    continue
                # mmdet writes uniform(width - w), which lies between that and 1.
                left, top = _uniform(width - w, 1), _uniform(height - h, 1)
                patch = int(left), int(top), int(left + w), int(top + h)
                if patch[2] == patch[0] or patch[3] == patch[1]:
                    continue
                enough = all(_iou(patch, box) >= min_iou for box in boxes)
                if enough and (not boxes or any(_has_centre(patch, box) for box in boxes)):
                    return patch
        return None

    def __repr__(self) -> str:
        return f'{super().__repr__()[:-1]}, expand={self.expand})'


def cut_out(image: np.ndarray, patch: Sequence[int], colour: Sequence[float]) -> np.ndarray:
    """Cut a patch out of a picture (H, W, C), C at most 4, on a ground of C values; a view if it lies inside."""
    x1, y1, x2, y2 = patch
    inner = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if inner.shape[:2] == (y2 - y1, x2 - x1):
        return inner
    out = np.empty((y2 - y1, x2 - x1, *image.shape[2:]), image.dtype)
    # numpy takes ten times as long to fill with a colour of several values.
    cv2.rectangle(out, (0, 0), (x2 - x1, y2 - y1), np.array(colour).astype(image.dtype).tolist(), cv2.FILLED)
    top, left = max(-y1, 0), max(-x1, 0)
    out[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return out


def _uniform(low: float, high: float) -> float:
    """What ``numpy.random.uniform`` gives, without its checks, which take longer than the number."""
    return low + (high - low) * random.random_sample()


def _iou(a: Box, b: Box) -> float:
    overlap_w, overlap_h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(overlap_w, 0) * max(overlap_h, 0)
    return overlap / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap)


def _has_centre(patch: Box, box: Box) -> bool:
    return patch[0] < (box[0] + box[2]) / 2 < patch[2] and patch[1] < (box[1] + box[3]) / 2 < patch[3]
