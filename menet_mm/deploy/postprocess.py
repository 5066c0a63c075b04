"""A network's outputs become results, with NumPy and OpenCV alone."""

from collections.abc import Sequence

import cv2
import numpy as np

from menet_mm.errors import InputError

from .description import Description, Nms

#: Results of one picture. Of a detector, best first: ``boxes`` (n, 4) as x1, y1, x2, y2 in pixels of the picture, ``scores``
#: (n,) in 0..1, and ``labels`` (n,), indices into the classes. Of a classifier: ``scores`` (C,), which sum to 1.
Result = dict[str, np.ndarray]
Sizes = Sequence[tuple[int, int]]


def postprocess(
    outputs: Sequence[np.ndarray], sizes: Sizes, description: Description, score_thr: float | None = None
) -> list[Result]:
    """Turn a network's outputs into results, see :meth:`Runner.postprocess`."""
    count, nms, shape = len(description.classes), description.nms, outputs[-1].shape
    if count not in (0, shape[-1]) or (nms and sum(nms.anchors) != shape[1]):
        raise InputError(f'the description does not fit what the model gives, {shape}: export it again')
    if nms is None:
        exponentials = np.exp(outputs[0] - outputs[0].max(-1, keepdims=True))
        return [dict(scores=each / each.sum()) for each in exponentials]
    height, width = description.size
    threshold = nms.score_threshold if score_thr is None else score_thr
    return [
        _suppress(boxes * np.float32([w / width, h / height] * 2), scores, nms, threshold)
        for boxes, scores, (h, w) in zip(*outputs, sizes, strict=True)
    ]


def _suppress(boxes: np.ndarray, scores: np.ndarray, nms: Nms, threshold: float) -> Result:
    """Keep the best boxes (A, 4) of each level, and of those that overlap the best of each class, as MMDetection's heads."""
    candidates, start = [], 0
    for count in nms.anchors:
        anchor, label = np.nonzero(scores[start : start + count] > threshold)
        anchor += start
        best = np.argsort(-scores[anchor, label], kind='stable')[: nms.pre]
        candidates.append((anchor[best], label[best]))
        start += count
    anchor, label = np.concatenate(candidates, axis=1)
    sides = boxes[:, 2:] - boxes[:, :2]
    large = (sides[anchor] > nms.min_size).all(1)
    anchor, label = anchor[large], label[large]
    values = scores[anchor, label]
    if len(values):
        corners = np.hstack([boxes[:, :2], sides])[anchor].astype(float)
        kept = cv2.dnn.NMSBoxesBatched(corners, values, label.astype(np.int32), threshold, nms.iou_threshold)
        kept = np.asarray(kept, int)
        kept = kept[np.argsort(-values[kept], kind='stable')][: nms.max_per_image]
        anchor, label, values = anchor[kept], label[kept], values[kept]
    return dict(boxes=boxes[anchor], scores=values, labels=label)
