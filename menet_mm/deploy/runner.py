"""Exported models without torch: preprocessing, a runtime, post-processing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
from PIL import Image

from menet_mm.errors import InputError

#: The runtime that takes a file, by its ending.
RUNTIMES = {'.onnx': 'onnxruntime', '.xml': 'openvino', '.param': 'ncnn'}
#: The variable from which OpenVINO takes what it may use of the processor, and all but AMX.
ISA, WITHOUT_AMX = 'ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_FP16'
#: Form of the description beside a model; a reader refuses others.
FORMAT = 1


class Detections(TypedDict):
    """What a detector found in one picture, best first: ``boxes`` (n, 4) as x1, y1, x2, y2 in pixels of the picture,
    ``scores`` (n,) in 0..1, and ``labels`` (n,), indices into the classes.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray


class Scores(TypedDict):
    """What a classifier says of one picture: ``scores`` (C,), which sum to 1, in the order of the classes."""

    scores: np.ndarray


def check_model_path(path: str | Path) -> Path:
    """Check the ending of an exported model's name.

    Raises:
        InputError: if it is none of a runtime's.
    """
    path = Path(path)
    if path.suffix not in RUNTIMES:
        raise InputError(f'{path} must end in .onnx, .xml (OpenVINO) or .param (ncnn)')
    return path


class Runner:
    """Run an exported model: pictures in, detections or class scores out.

    Needs NumPy, OpenCV, Pillow and the model's runtime; neither torch nor an MM library.

    Args:
        path: what ``tools/export.py`` wrote: ``.onnx``, ``.xml`` or ``.param``. Its description (its name
            and ``.json``) and weights (``.bin``) must lie beside it.
        threads: threads of the runtime; its default, usually one a core, if left out.
        precision: ``'fp32'``, or ``'bf16'`` on OpenVINO where the processor has it; int8 is a property of the file. OpenVINO's
            own default may be bf16, depending on the processor.

    Attributes:
        description: content of the ``.json``.
        classes: names of the classes.

    Raises:
        InputError: if a file is missing or damaged, the runtime is not installed, or the precision is not to be had.

    Example:
        >>> from menet_mm.deploy import Runner
        >>> detect = Runner('ssd_menet108.onnx')  # doctest: +SKIP
        >>> detect(cv2.imread('street.jpg'))[0]['boxes']  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, threads: int | None = None, precision: str = 'fp32') -> None:
        self.path = check_model_path(path)
        if not self.path.is_file():
            raise InputError(f'no model {self.path}: make it with tools/export.py')
        self.description = read_description(self.path)
        self.classes: list[str] = self.description['classes']
        runtime = RUNTIMES[self.path.suffix]
        if precision not in ('fp32', 'bf16') or (precision == 'bf16' and runtime != 'openvino'):
            raise InputError(f"precision must be 'fp32', or 'bf16' on OpenVINO, but got {precision!r} for {self.path}")
        try:
            self._backend = load_backend(self.path, self.description, threads, precision)
        except InputError:
            raise
        except ModuleNotFoundError as error:
            raise InputError(f'{self.path} needs {error.name}: run `pip install {error.name}`') from None
        except Exception as error:  # each runtime has exceptions of its own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip('.')
            raise InputError(f'{self.path} cannot be loaded ({reason}): export it again') from None

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """Bring a picture into the model's form, see :func:`preprocess`."""
        return preprocess(image, self.description)

    def infer(self, batch: np.ndarray) -> list[np.ndarray]:
        """Run the network alone.

        Args:
            batch: (N, 3, h, w) from :meth:`preprocess`.

        Returns:
            Its outputs: logits (N, C), or boxes (N, A, 4) in pixels of the input and scores (N, A, C) of all anchors.
        """
        if self.description['dynamic_batch'] or len(batch) == 1:
            return self._backend(batch)
        parts = [self._backend(batch[i : i + 1]) for i in range(len(batch))]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]

    def postprocess(
        self, outputs: Sequence[np.ndarray], sizes: Sequence[tuple[int, int]], score_thr: float | None = None
    ) -> list[Detections] | list[Scores]:
        """Turn the network's outputs into results.

        Args:
            outputs: of :meth:`infer`.
            sizes: (height, width) of each picture.
            score_thr: leave out detections of no more than this; the description's ``score_threshold`` if left out.
        """
        if self.description['task'] == 'classification':
            return [Scores(scores=_softmax(logits)) for logits in outputs[0]]
        _, _, height, width = self.description['input']['shape']
        return [
            _suppress(boxes * np.float32([w / width, h / height] * 2), scores, self.description['nms'], score_thr)
            for boxes, scores, (h, w) in zip(*outputs, sizes, strict=True)
        ]

    def __call__(
        self, images: np.ndarray | Sequence[np.ndarray], score_thr: float | None = None
    ) -> list[Detections] | list[Scores]:
        """Run pictures through the model, all in one batch if it was exported with ``--dynamic-batch``.

        Args:
            images: one picture or several, each (H, W, 3), 8 bit, blue first.
            score_thr: as of :meth:`postprocess`.

        Returns:
            For each picture :class:`Detections` or :class:`Scores`.

        Raises:
            InputError: if one is no such picture.
        """
        images = list(images) if isinstance(images, list | tuple) else [images]
        if not images:
            return []
        batch = np.stack([self.preprocess(image) for image in images])
        return self.postprocess(self.infer(batch), [image.shape[:2] for image in images], score_thr)


def description_path(model: Path) -> Path:
    """Where the description of a model lies: ``model.onnx.json``, since exports for several runtimes may share a folder."""
    return model.with_name(f'{model.name}.json')


def read_description(path: Path) -> dict:
    """Read what ``tools/export.py`` wrote beside a model.

    Raises:
        InputError: if it is missing or not of the form that this version reads.
    """
    path = description_path(path)
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f'no description {path}: keep the files of an export together') from None
    except ValueError:
        content = None
    if not _is_description(content):
        raise InputError(f'{path} is no description of an exported model of format {FORMAT}: export it again')
    return content


def _is_description(content: object) -> bool:
    """Tell whether a description is of this format, with every key that is read later and steps that are known."""
    try:
        parts = [(content, _KEYS), (content['input'], _INPUT_KEYS)]
        parts += [(step, _STEPS[step['type']][1]) for step in content['preprocess']]
        if content['task'] != 'classification':
            parts.append((content['nms'], _NMS_KEYS))
        return content['format'] == FORMAT and all(keys <= part.keys() for part, keys in parts)
    except (KeyError, TypeError, AttributeError):  # something else stands in the place of a dict or a list
        return False


def preprocess(image: np.ndarray, description: dict) -> np.ndarray:
    """Bring a picture into the model's form, as the test pipeline of its config does.

    Args:
        image: (H, W, 3), 8 bit, blue first, as ``cv2.imread`` gives it.
        description: of the model.

    Returns:
        (3, h, w), 32-bit floats.

    Raises:
        InputError: if it is no such picture, or smaller than what would be cropped from it.
    """
    array = isinstance(image, np.ndarray)
    if not array or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise InputError(
            'a picture must be an array (height, width, 3) of 8 bit, as cv2.imread returns it, '
            f'but got {f"{image.dtype} {image.shape}" if array else repr(image)}'
        )
    for step in description['preprocess']:
        image = _STEPS[step['type']][0](image, step)
    spec = description['input']
    if image.shape[:2] != tuple(spec['shape'][2:]):
        raise InputError(f'a picture is too small: at least {" x ".join(map(str, spec["shape"][2:]))} are needed')
    if spec['channel_order'] == 'RGB':
        image = image[..., ::-1]
    normal = (image.astype(np.float32) - np.float32(spec['mean'])) / np.float32(spec['std'])
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _resize(image: np.ndarray, size: tuple[int, int], backend: str) -> np.ndarray:
    """Resize to (width, height) as mmcv does, bilinear."""
    if image.shape[1::-1] == size:
        return image
    if backend == 'pillow':
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _resize_edge(image: np.ndarray, step: dict) -> np.ndarray:
    """MMPretrain's ResizeEdge of the short side."""
    height, width = image.shape[:2]
    scale = step['scale']
    size = (scale, int(scale * height / width)) if width < height else (int(scale * width / height), scale)
    return _resize(image, size, step['backend'])


def _stretch(image: np.ndarray, step: dict) -> np.ndarray:
    """MMDetection's Resize that does not keep the ratio."""
    return _resize(image, tuple(step['scale']), step['backend'])


def _crop(image: np.ndarray, step: dict) -> np.ndarray:
    """MMPretrain's CenterCrop."""
    height, width = step['crop_size']
    top = max(0, round((image.shape[0] - height) / 2))
    left = max(0, round((image.shape[1] - width) / 2))
    return image[top : top + height, left : left + width]


#: Steps of preprocessing, with the settings that each reads.
_STEPS = {
    'ResizeEdge': (_resize_edge, {'scale', 'backend'}),
    'Resize': (_stretch, {'scale', 'backend'}),
    'CenterCrop': (_crop, {'crop_size'}),
}
#: What else is read of a description.
_KEYS = {'format', 'task', 'input', 'preprocess', 'classes', 'dynamic_batch', 'outputs'}
_INPUT_KEYS = {'name', 'shape', 'channel_order', 'mean', 'std'}
_NMS_KEYS = {'score_threshold', 'iou_threshold', 'pre', 'min_size', 'max_per_image', 'anchors'}


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def _suppress(boxes: np.ndarray, scores: np.ndarray, nms: dict, score_thr: float | None) -> Detections:
    """Keep the best boxes of each level, and of those that overlap the best of each class, as MMDetection's heads do.

    Args:
        boxes: (A, 4), level after level.
        scores: (A, C).
        nms: ``score_threshold``, ``iou_threshold``, ``pre`` (of a level), ``min_size`` (in pixels; a box must be wider and
            higher), ``max_per_image``, ``anchors`` (of each level).
        score_thr: takes the place of ``score_threshold``.
    """
    threshold = nms['score_threshold'] if score_thr is None else score_thr
    candidates = []
    start = 0
    for count in nms['anchors']:
        level = scores[start : start + count]
        anchor, label = np.nonzero(level > threshold)
        best = np.argsort(-level[anchor, label], kind='stable')[: nms['pre']]
        candidates.append((anchor[best] + start, label[best]))
        start += count
    anchor, label = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    found, values = boxes[anchor], scores[anchor, label]
    large = (found[:, 2:] - found[:, :2] > nms['min_size']).all(1)
    found, values, label = found[large], values[large], label[large]
    if len(found):
        corners = np.hstack([found[:, :2], found[:, 2:] - found[:, :2]]).astype(float)
        kept = cv2.dnn.NMSBoxesBatched(corners, values, label.astype(np.int32), threshold, nms['iou_threshold'])
        kept = np.asarray(kept, int)
        kept = kept[np.argsort(-values[kept], kind='stable')][: nms['max_per_image']]
        found, values, label = found[kept], values[kept], label[kept]
    return Detections(boxes=found, scores=values, labels=label)


def load_backend(
    path: Path, description: dict, threads: int | None, precision: str
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Load a model into its runtime.

    Args:
        path: the model; its ending tells the runtime.
        description: names of its ``input`` and ``outputs``; None for the latter means all, except in ncnn.
        threads: as of :class:`Runner`, and so is precision.

    Returns:
        A function from a batch (N, 3, h, w) to the outputs.
    """
    backend = {'onnxruntime': _OnnxRuntime, 'openvino': _OpenVino, 'ncnn': _Ncnn}[RUNTIMES[path.suffix]]
    return backend(path, description, threads, precision)


class _OnnxRuntime:
    def __init__(self, path: Path, description: dict, threads: int | None, precision: str) -> None:
        runtime = import_module('onnxruntime')
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        # Idle threads that spin would starve what else runs on a small device.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        if threads:
            options.intra_op_num_threads = threads
        self._session = runtime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
        self._input = description['input']['name']
        self._outputs = description['outputs']

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        return self._session.run(self._outputs, {self._input: batch})


@contextmanager
def without_amx() -> Iterator[None]:
    """Have OpenVINO leave Intel's AMX alone, if it computes for the first time in this process within the context.

    With AMX, OpenVINO 2026.4 computes 8-bit convolutions wrongly (none of 250 answers of an 8-bit MENet-108 stays), and crashes
    in some (https://github.com/openvinotoolkit/openvino/issues/37577). What it may use is read from the environment, once;
    processes that this one starts are to choose for themselves.
    """
    chosen = ISA in os.environ
    os.environ.setdefault(ISA, WITHOUT_AMX)
    try:
        yield
    finally:
        if not chosen:
            del os.environ[ISA]


class _OpenVino:
    def __init__(self, path: Path, description: dict, threads: int | None, precision: str) -> None:
        # bf16 is right with AMX, and faster.
        with nullcontext() if precision == 'bf16' and description.get('precision') != 'int8' else without_amx():
            core = import_module('openvino').Core()
            # OpenVINO would compute in fp32 without a word.
            if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
                raise InputError("this processor has no bf16 for OpenVINO: take precision 'fp32', which is the default")
            properties = {
                'INFERENCE_PRECISION_HINT': {'fp32': 'f32', 'bf16': 'bf16'}[precision],
                'PERFORMANCE_HINT': 'LATENCY',
            }
            if threads:
                properties['INFERENCE_NUM_THREADS'] = threads
            model = core.compile_model(str(path), 'CPU', properties)
        kernels = [op.get_rt_info()['primitiveType'].astype(str) for op in model.get_runtime_model().get_ops()]
        if any('amx' in kernel and 'I8' in kernel for kernel in kernels):
            raise InputError(
                f'OpenVINO would compute {path} with AMX, which it does wrongly in 8 bit: set {ISA}={WITHOUT_AMX} '
                'before OpenVINO is first used in this process'
            )
        self._request = model.create_infer_request()
        self._outputs = description['outputs'] or [output.any_name for output in model.outputs]

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        self._request.infer([batch])
        return [self._request.get_tensor(name).data.copy() for name in self._outputs]


class _Ncnn:
    def __init__(self, path: Path, description: dict, threads: int | None, precision: str) -> None:
        self._ncnn = import_module('ncnn')
        self._net = self._ncnn.Net()
        options = self._net.opt
        for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
            setattr(options, name, False)
        if threads:
            options.num_threads = threads
        if self._net.load_param(str(path)) or self._net.load_model(str(path.with_suffix('.bin'))):
            raise ValueError('ncnn cannot read the file or its .bin')
        self._input = description['input']['name']
        self._outputs = description['outputs']

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        extractor = self._net.create_extractor()
        extractor.input(self._input, self._ncnn.Mat(batch[0]))
        outputs = []
        for name in self._outputs:
            status, value = extractor.extract(name)
            if status:
                raise RuntimeError(f'ncnn gave no {name}')
            outputs.append(np.array(value)[None])
        return outputs
