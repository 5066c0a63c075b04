"""What the JSON beside an exported model says. The class that writes it also reads it and checks every field."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path

from menet_mm.errors import InputError

#: Version of the form; a reader refuses others. In format 1 ``crop_size`` was (height, width).
FORMAT = 2
#: No side of a picture may be longer, in pixels.
LARGEST = 65_535


def description_path(model: Path) -> Path:
    """Where the description of a model lies: ``model.onnx.json``, since exports for several runtimes may share a folder."""
    return model.with_name(f'{model.name}.json')


def _expect(holds: object, name: str) -> None:
    if not holds:
        raise ValueError(f'{name} is wrong')


def _numbers(value: object, count: int | None, low: float, high: float = float('inf'), kind: type = float) -> bool:
    """Tell whether a value is a list of ``count`` finite numbers within bounds."""
    kinds = (int, float) if kind is float else (int,)
    return (
        isinstance(value, list | tuple)
        and (len(value) > 0 if count is None else len(value) == count)
        and all(type(number) in kinds and isfinite(number) and low <= number <= high for number in value)
    )


def _texts(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(text, str) for text in value)


@dataclass(frozen=True)
class Input:
    """The network's input: name, shape (N, 3, h, w), and how 8-bit pixels become numbers."""

    name: str
    shape: Sequence[int]
    channel_order: str
    mean: Sequence[float]
    std: Sequence[float]
    layout: str = 'NCHW'
    dtype: str = 'float32'

    def __post_init__(self) -> None:
        _expect(isinstance(self.name, str), 'input.name')
        _expect(_numbers(self.shape, 4, 1, LARGEST, int) and self.shape[1] == 3, 'input.shape')
        _expect(self.channel_order in ('RGB', 'BGR'), 'input.channel_order')
        _expect(_numbers(self.mean, 3, -1e6, 1e6), 'input.mean')
        _expect(_numbers(self.std, 3, 1e-6, 1e6), 'input.std')
        _expect((self.layout, self.dtype) == ('NCHW', 'float32'), 'input.layout or dtype')


@dataclass(frozen=True)
class Step:
    """A step of preprocessing, named as in the config; the unused fields are None.

    ``scale``: (width, height) of ``Resize``, length of the ``edge`` of ``ResizeEdge``; ``crop_size``: (width, height) of
    ``CenterCrop``; ``backend``: ``cv2`` or ``pillow``, which resizes, bilinear.
    """

    type: str
    scale: int | Sequence[int] | None = None
    edge: str | None = None
    backend: str | None = None
    crop_size: Sequence[int] | None = None

    def __post_init__(self) -> None:
        _expect(self.type in ('ResizeEdge', 'Resize', 'CenterCrop'), 'preprocess.type')
        if self.type == 'CenterCrop':
            _expect(_numbers(self.crop_size, 2, 1, LARGEST, int), 'CenterCrop.crop_size')
            return
        _expect(self.backend in ('cv2', 'pillow'), f'{self.type}.backend')
        if self.type == 'Resize':
            _expect(_numbers(self.scale, 2, 1, LARGEST, int), 'Resize.scale')
            return
        _expect(_numbers([self.scale], 1, 1, LARGEST, int), 'ResizeEdge.scale')
        _expect(self.edge in ('short', 'long', 'width', 'height'), 'ResizeEdge.edge')

    def size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that a picture of (width, height) has after this step."""
        if self.type == 'Resize':
            return tuple(self.scale)
        if self.type == 'CenterCrop':
            return min(width, self.crop_size[0]), min(height, self.crop_size[1])
        by_width = dict(short=width < height, long=width > height, width=True, height=False)[self.edge]
        # Rounded down, as MMPretrain does.
        return (
            (self.scale, int(self.scale * height / width))
            if by_width
            else (int(self.scale * width / height), self.scale)
        )


@dataclass(frozen=True)
class Nms:
    """How a detector's boxes are chosen: ``pre`` is the number of candidates of a level, ``anchors`` that of each level's
    boxes, and a box must be wider and higher than ``min_size`` pixels.
    """

    score_threshold: float
    iou_threshold: float
    pre: int
    min_size: float
    max_per_image: int
    anchors: Sequence[int]

    def __post_init__(self) -> None:
        thresholds = (self.score_threshold, self.iou_threshold)
        _expect(_numbers(thresholds, 2, 0, 1), 'nms.score_threshold or iou_threshold')
        _expect(_numbers((self.pre, self.max_per_image), 2, -1, kind=int), 'nms.pre or max_per_image')
        _expect(_numbers([self.min_size], 1, 0), 'nms.min_size')
        _expect(_numbers(self.anchors, None, 1, kind=int), 'nms.anchors')


@dataclass(frozen=True)
class Description:
    """All that a caller needs besides an exported model.

    Raises:
        ValueError: naming the field that is wrong.
    """

    task: str
    runtime: str
    input: Input
    preprocess: Sequence[Step]
    classes: Sequence[str]
    outputs: Sequence[str]
    precision: str = 'fp32'
    dynamic_batch: bool = False
    nms: Nms | None = None
    config: str = ''
    checkpoint_sha256: str = ''
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        _expect(self.format == FORMAT, 'format')
        _expect(self.task in ('classification', 'detection'), 'task')
        _expect(self.precision in ('fp32', 'int8'), 'precision')
        _expect(isinstance(self.dynamic_batch, bool), 'dynamic_batch')
        _expect((self.nms is None) == (self.task == 'classification'), 'nms')
        _expect(_texts(self.classes), 'classes')
        _expect(_texts(self.outputs) and len(self.outputs) == (1 if self.nms is None else 2), 'outputs')
        _expect(_texts([self.runtime, self.config, self.checkpoint_sha256]), 'runtime, config or checkpoint_sha256')
        _expect(isinstance(self.versions, dict) and _texts(list(self.versions.values())), 'versions')

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the network's input."""
        return tuple(self.input.shape[2:])

    @classmethod
    def read(cls, model: Path) -> Description:
        """Read what lies beside a model.

        Raises:
            InputError: if it is missing, or not of the form that this version reads.
        """
        path = description_path(model)
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            _expect(content['format'] == FORMAT, 'format')
            nms = content.get('nms')
            parts = dict(
                input=Input(**content['input']),
                preprocess=[Step(**step) for step in content['preprocess']],
                nms=None if nms is None else Nms(**nms),
            )
            return cls(**{**content, **parts})
        except FileNotFoundError:
            raise InputError(f'no description {path}: keep the files of an export together') from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = str(error).replace('.__init__()', '')
            raise InputError(
                f'{path} is no description of an exported model of format {FORMAT} ({reason}): export it again'
            ) from None

    def write(self, model: Path) -> None:
        """Write it beside a model."""
        content = asdict(self, dict_factory=lambda items: {key: value for key, value in items if value is not None})
        description_path(model).write_text(json.dumps(content, indent=1), encoding='utf-8')
