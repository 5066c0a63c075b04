"""Exported models without torch: preprocessing, a runtime, post-processing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from menet_mm.errors import InputError

from .description import Description
from .postprocess import Result, Sizes, postprocess
from .preprocess import preprocess
from .runtimes import runtime_of


class Runner:
    """Run an exported model: pictures in, detections or class scores out.

    Needs NumPy, OpenCV, Pillow and the model's runtime; neither torch nor an MM library. Several threads may call one runner.
    Its ``description`` is the content of the ``.json``, its ``classes`` are their names.

    Args:
        path: what ``tools/export.py`` wrote: ``.onnx``, ``.xml`` or ``.param``. The files that it wrote must lie together.
        threads: threads of the runtime; its default, usually one a core, if left out.
        precision: ``'fp32'``, or ``'bf16'`` on OpenVINO where the processor has it; int8 is a property of the file.

    Raises:
        InputError: if a file is missing or damaged, the runtime is not installed, or it cannot compute in this precision.
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
        """(H, W, 3), 8 bit, blue first -> (3, h, w), see :func:`menet_mm.deploy.preprocess.preprocess`."""
        return preprocess(image, self.description)

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the network alone: (N, 3, h, w) from :meth:`preprocess` -> logits (N, C) in a list of one.

        Of a detector: boxes (N, A, 4) in pixels of the input and scores (N, A, C) of all anchors.
        """
        if self.description.dynamic_batch or len(batch) == 1:
            return self._network(batch)
        parts = [self._network(batch[i : i + 1]) for i in range(len(batch))]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def postprocess(self, outputs: Sequence[np.ndarray], sizes: Sizes, score_thr: float | None = None) -> list[Result]:
        """Turn the outputs of :meth:`infer` for pictures of (height, width) into results. InputError if they do not fit.

        Detections of no more than ``score_thr``, by default the description's ``nms.score_threshold``, are left out.
        """
        return postprocess(outputs, sizes, self.description, score_thr)

    def __call__(self, images: np.ndarray | Sequence[np.ndarray], score_thr: float | None = None) -> list[Result]:
        """Run one picture or several, all in one batch if exported with ``--dynamic-batch``; a :data:`Result` for each."""
        images = list(images) if isinstance(images, list | tuple) else [images]
        if not images:
            return []
        batch = np.stack([self.preprocess(image) for image in images])
        return self.postprocess(self.infer(batch), [image.shape[:2] for image in images], score_thr)
