"""What a config's test pipeline does with pictures: as steps to describe, and done by the config's own library."""

import tempfile
from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn

from menet_mm.datasets.doctor.start import leaf_configs
from menet_mm.errors import InputError

from .description import Step

_ANY = dict(type=None, _scope_=None)
_RESIZE = dict(_ANY, scale=None, backend=('cv2', 'pillow'), interpolation=('bilinear',))
#: The steps that can be described, and the settings of theirs that can, with the values of these; None is any.
STEPS = dict(
    ResizeEdge=dict(_RESIZE, edge=None),
    Resize=dict(_RESIZE, keep_ratio=(False,), clip_object_border=None),
    CenterCrop=dict(_ANY, crop_size=None, auto_pad=(False,), clip_object_border=None),
    LoadImageFromFile=dict(_ANY, backend_args=None),
)
OTHERS = ('LoadAnnotations', 'PackInputs', 'PackDetInputs')  # which leave the pixels alone


def find_test_set(cfg: Config) -> dict:
    """The config of the test set, or of the first inside a wrapper. InputError without a pipeline, or if pipelines differ."""
    found = list(leaf_configs((cfg.get('test_dataloader') or {}).get('dataset') or {}))
    if not found or not found[0].get('pipeline'):
        raise InputError('the config has no test pipeline: set test_dataloader.dataset.pipeline')
    if any(other.get('pipeline') != found[0].pipeline for other in found):
        raise InputError('the test sets have different pipelines: export needs a config whose test sets share one')
    return found[0]


def preprocess_steps(cfg: Config) -> tuple[list[Step], tuple[int, int]]:
    """Read the steps that make a picture the model's input, of (h, w). InputError if others do, or the size is not fixed."""
    steps = [read for step in find_test_set(cfg).pipeline if (read := _read_step(step))]
    size = None
    for step in steps:
        if size or step.type != 'ResizeEdge':
            size = step.result(*(size or step.size))
    if size is None:
        example = "such as dict(type='Resize', scale=64) if all pictures have 64 x 64 pixels"
        raise InputError(f'the test pipeline gives no fixed size: add CenterCrop or Resize to it, {example}')
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    if size[0] % divisor or size[1] % divisor:
        raise InputError(f'pictures of {size[0]} x {size[1]} would be padded to multiples of {divisor}: resize to some')
    return steps, size[::-1]


def _kind(step: dict) -> str:
    return step['type'].rpartition('.')[2] if isinstance(step['type'], str) else step['type'].__name__


def _read_step(step: dict) -> Step | None:
    """Turn a step's config into ours, or None if it leaves the pixels alone."""
    kind = _kind(step)
    if kind in OTHERS:
        return None
    if kind not in STEPS:
        raise InputError(f'the test pipeline has {kind}: export knows {", ".join(STEPS)}')
    for name, value in step.items():
        if name not in STEPS[kind] or value not in (STEPS[kind][name] or (value,)):
            raise InputError(f'{kind} of the test pipeline has {name}={value!r}: export cannot do that')
    if kind == 'LoadImageFromFile':
        return None
    size = step.get('crop_size' if kind == 'CenterCrop' else 'scale')
    if isinstance(size, int):
        size = (size,) if kind == 'ResizeEdge' else (size, size)
    edge = step.get('edge', 'short') if kind == 'ResizeEdge' else None
    try:
        return Step(kind, size, edge, None if kind == 'CenterCrop' else step.get('backend', 'cv2'))
    except InputError as error:
        raise InputError(f'the test pipeline has {dict(step)}, but {error}') from None


def own_preprocess(cfg: Config, model: nn.Module) -> Callable[[np.ndarray], Tensor]:
    """Make a function from a picture to the model's input (1, 3, h, w), as the config's pipeline and the model make it."""
    # There are no annotations to load.
    pipeline = Compose([step for step in find_test_set(cfg).pipeline if _kind(step) != 'LoadAnnotations'])

    def prepare(image: np.ndarray) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            path = f'{folder}/picture.png'
            cv2.imwrite(path, image)
            data = pipeline(dict(img_path=path, img_id=0))
        return torch.stack(list(model.data_preprocessor(pseudo_collate([data]))['inputs'])).float()

    return prepare
