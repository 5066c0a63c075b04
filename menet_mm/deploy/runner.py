"""Exported models without torch: pictures become the network's input, a runtime runs it, its outputs become results."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from menet_mm.errors import InputError

from .description import Description, Nms, Step
from .runtimes import runtime_of

#: Results of one picture. Of a detector, best first: ``boxes`` (n, 4) as x1, y1, x2, y2 in pixels of the picture, ``scores``
#: (n,) in 0..1, and ``labels`` (n,), indices into the classes. Of a classifier: ``scores`` (C,), which sum to 1.
Result = dict[str, np.ndarray]
Sizes = Sequence[tuple[int, int]]  # (height, width) of each picture


class Runner:
    """Run an exported model: pictures in, detections or class scores out.

    Needs NumPy, OpenCV, Pillow and the model's runtime; neither torch nor an MM library. Several threads may call one runner.
    Its ``description`` is the content of the ``.json``, its ``classes`` are their names.

    ``path`` is what ``tools/export.py`` wrote, whose files must lie together: ``.onnx``, ``.xml`` or ``.param``. ``threads``
    are the runtime's, by default usually one a core. ``precision`` is ``'fp32'``, or ``'bf16'`` on OpenVINO where the
    processor has it; int8 is a property of the file. InputError if a file is missing or damaged, the runtime is not installed,
    or it cannot compute in this precision.
    """

    def __init__(self, path: str | Path, threads: int | None = None, precision: str = 'fp32') -> None:
        self.path = Path(path)
        runtime = runtime_of(self.path)
        if not self.path.is_file():
            raise InputError(f'no model {self.path}: make it with tools/export.py')
        self.description = Description.read(self.path)
        self.classes: list[str] = list(self.description.classes)
        given = self.description.input.name, self.description.outputs, threads, precision
        self._network = runtime.load(self.path, *given, int8=self.description.precision == 'int8')

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3), 8 bit, blue first -> (3, h, w), see :func:`preprocess`."""
        return preprocess(image, self.description)

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the network alone: (N, 3, h, w) -> logits (N, C), or boxes (N, A, 4) in pixels of the input, scores (N, A, C)."""
        if self.description.dynamic_batch or len(batch) == 1:
            return self._network(batch)
        parts = [self._network(batch[i : i + 1]) for i in range(len(batch))]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def postprocess(self, outputs: Sequence[np.ndarray], sizes: Sizes, score_thr: float | None = None) -> list[Result]:
        """Turn the outputs of :meth:`infer` for pictures of ``sizes`` into results, see :func:`postprocess`."""
        return postprocess(outputs, sizes, self.description, score_thr)

    def __call__(self, images: np.ndarray | Sequence[np.ndarray], score_thr: float | None = None) -> list[Result]:
        """Run one picture or several, all in one batch if exported with ``--dynamic-batch``; see the other methods."""
        images = list(images) if isinstance(images, list | tuple) else [images]
        if not images:
            return []
        batch = np.stack([self.preprocess(image) for image in images])
        return self.postprocess(self.infer(batch), [image.shape[:2] for image in images], score_thr)


def preprocess(image: np.ndarray, description: Description) -> np.ndarray:
    """Bring a picture into the model's form, as the test pipeline of its config does.

    A picture is (H, W, 3), 8 bit, blue first, as ``cv2.imread`` gives it; the result (3, h, w), 32-bit floats.
    InputError if it is no such picture, or too small for a step.
    """
    array = isinstance(image, np.ndarray)
    if not array or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        got = f'{image.dtype} {image.shape}' if array else repr(image)
        wanted = 'an array (height, width, 3) of 8 bit, as cv2.imread returns it'
        raise InputError(f'a picture must be {wanted}, but got {got}')
    resized, spec = image, description.input
    for step in description.preprocess:
        resized = _apply(step, resized)
    if resized.shape[:2] != description.size:
        (height, width), (h, w) = image.shape[:2], description.size
        raise InputError(f'a picture of {width} x {height} is too small: the model crops {w} x {h} from it')
    ordered = resized[..., ::-1] if spec.channel_order == 'RGB' else resized
    normal = (ordered.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _apply(step: Step, image: np.ndarray) -> np.ndarray:
    """Carry out a step to the same pixels as MMCV and MMPretrain."""
    height, width = image.shape[:2]
    size = step.result(width, height)
    if size == (width, height) or 0 in size:
        return image  # a picture too narrow for its edge is refused for its size
    if step.type == 'CenterCrop':
        left, top = round((width - size[0]) / 2), round((height - size[1]) / 2)
        return image[top : top + size[1], left : left + size[0]]
    if step.backend == 'pillow':
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def postprocess(
    outputs: Sequence[np.ndarray], sizes: Sizes, description: Description, score_thr: float | None = None
) -> list[Result]:
    """Turn the outputs of :meth:`Runner.infer` for pictures of ``sizes`` into results. InputError if they do not fit.

    Detections of no more than ``score_thr``, by default the description's ``nms.score_threshold``, are left out.
    """
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
    anchor, label = np.nonzero(scores > threshold)
    order = np.argsort(-scores[anchor, label], kind='stable')
    anchor, label = anchor[order], label[order]
    level = np.repeat(range(len(nms.anchors)), nms.anchors)[anchor]
    best = np.sort(np.concatenate([np.flatnonzero(level == i)[: nms.pre] for i in range(len(nms.anchors))]))
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = best[(sides[anchor[best]] > nms.min_size).all(1)]
    if len(kept):
        corners = np.hstack([boxes[:, :2], sides])[anchor[kept]].astype(float)
        values, classes = scores[anchor[kept], label[kept]], label[kept].astype(np.int32)
        chosen = cv2.dnn.NMSBoxesBatched(corners, values, classes, threshold, nms.iou_threshold)
        kept = kept[np.sort(np.asarray(chosen, int))[: nms.max_per_image]]
    anchor, label = anchor[kept], label[kept]
    return dict(boxes=boxes[anchor], scores=scores[anchor, label], labels=label)
