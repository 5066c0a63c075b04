"""What the JSON beside an exported model says. The class that writes it also reads it, and checks every field."""

import json
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isfinite
from pathlib import Path
from typing import Annotated, Literal, Self, get_args, get_origin, get_type_hints

from menet_mm.errors import InputError

#: Version of the form; a reader refuses others. In format 1 a crop's size was (height, width).
FORMAT = 2


def _number(low: float, high: float, *kinds: type) -> Callable[[object], bool]:
    return lambda value: type(value) in kinds and isfinite(value) and low <= value <= high


def _list(rule: Callable[[object], bool], counts: Container[int] = range(2**31)) -> Callable[[object], bool]:
    return lambda items: isinstance(items, list | tuple) and len(items) in counts and all(map(rule, items))


_side = _number(1, 65_535, int)
Share = Annotated[float, _number(0, 1, int, float)]
Limit = Annotated[int, _number(-1, inf, int)]  # how many at most; -1 is all but the last, as in MMDetection
Texts = Annotated[Sequence[str], _list(lambda value: isinstance(value, str))]


class _Checked:
    """A dataclass whose fields must be as their types say: classes, literals, or what a rule in Annotated allows."""

    def __post_init__(self) -> None:
        for name, kind in get_type_hints(type(self), include_extras=True).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal:
                holds = value in get_args(kind)
            else:
                holds = kind.__metadata__[0](value) if get_origin(kind) is Annotated else isinstance(value, kind)
            if not holds:
                raise InputError(f'the {name} of {type(self).__name__} cannot be {str(value)[:60]!r}')


@dataclass(frozen=True)
class Input(_Checked):
    """The network's input: name, shape (N, 3, h, w), and how 8-bit pixels become numbers."""

    name: str
    shape: Annotated[Sequence[int], lambda value: _list(_side, [4])(value) and value[1] == 3]
    channel_order: Literal['RGB', 'BGR']
    mean: Annotated[Sequence[float], _list(_number(-1e6, 1e6, int, float), [3])]
    std: Annotated[Sequence[float], _list(_number(1e-6, 1e6, int, float), [3])]
    layout: Literal['NCHW'] = 'NCHW'
    dtype: Literal['float32'] = 'float32'


@dataclass(frozen=True)
class Step(_Checked):
    """A step of preprocessing, named as in the config."""

    type: Literal['ResizeEdge', 'Resize', 'CenterCrop']
    size: Annotated[Sequence[int], _list(_side, [1, 2])]  # (width, height) of the result, at most in a crop; or (edge,)
    edge: Literal['short', 'long', 'width', 'height', None] = None
    backend: Literal['cv2', 'pillow', None] = None  # which resizes, bilinear

    def __post_init__(self) -> None:
        super().__post_init__()
        if (len(self.size), self.edge is None) != ((1, False) if self.type == 'ResizeEdge' else (2, True)):
            raise InputError(f'the size or edge of {self.type} is wrong')

    def result(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) that a picture of (width, height) has after this step."""
        if self.type == 'Resize':
            return tuple(self.size)
        if self.type == 'CenterCrop':
            return min(width, self.size[0]), min(height, self.size[1])
        by_width = dict(short=width < height, long=width > height, width=True, height=False)[self.edge]
        edge = self.size[0]  # the other side is rounded down, as MMPretrain does
        return (edge, int(edge * height / width)) if by_width else (int(edge * width / height), edge)


@dataclass(frozen=True)
class Nms(_Checked):
    """How boxes are chosen: ``pre`` of each level (of ``anchors``), wider and higher than ``min_size`` pixels."""

    score_threshold: Share
    iou_threshold: Share
    pre: Limit
    min_size: Annotated[float, _number(0, inf, int, float)]
    max_per_image: Limit
    anchors: Annotated[Sequence[int], _list(_number(1, inf, int))]


@dataclass(frozen=True)
class Description(_Checked):
    """All that a caller needs besides an exported model."""

    task: Literal['classification', 'detection']
    runtime: str
    input: Input
    preprocess: Annotated[Sequence[Step], _list(lambda value: isinstance(value, Step))]
    classes: Texts
    outputs: Texts
    precision: Literal['fp32', 'int8'] = 'fp32'
    dynamic_batch: bool = False
    nms: Nms | None = None
    config: str = ''
    checkpoint_sha256: str = ''
    versions: dict = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.nms is None, len(self.outputs)) != ((True, 1) if self.task == 'classification' else (False, 2)):
            raise InputError(f'the nms or outputs of a {self.task} are wrong')

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the network's input."""
        return tuple(self.input.shape[2:])

    @classmethod
    def read(cls, model: Path) -> Self:
        """Read what lies beside a model. Raises InputError if it is missing or of another form."""
        path = description_path(model)
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content['format'] != FORMAT:
                raise ValueError(f'format is {content["format"]!r}')
            content['input'] = Input(**content['input'])
            content['preprocess'] = [Step(**step) for step in content['preprocess']]
            content['nms'] = Nms(**content['nms']) if content['task'] == 'detection' else None
            return cls(**content)
        except FileNotFoundError:
            raise InputError(f'no description {path}: keep the files of an export together') from None
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            reason = error if isinstance(error, ValueError) else 'a field is missing, unknown or of another kind'
            wanted = f'no description of an exported model of format {FORMAT}'
            raise InputError(f'{path} is {wanted} ({reason}): export it again') from None

    def write(self, model: Path) -> None:
        """Write it beside a model."""
        content = asdict(self, dict_factory=lambda items: {key: value for key, value in items if value is not None})
        description_path(model).write_text(json.dumps(content, indent=1), encoding='utf-8')


def description_path(model: Path) -> Path:
    """Where the description of a model lies: ``model.onnx.json``, since exports for several runtimes may share a folder."""
    return model.with_name(f'{model.name}.json')
