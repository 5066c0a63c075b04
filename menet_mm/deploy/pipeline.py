"""What a config's test pipeline does with pictures: as steps to describe, and done by the config's own library."""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import Tensor, nn

from menet_mm.datasets.doctor import leaf_configs
from menet_mm.errors import InputError

from .description import Step

_RESIZE = dict(scale=None, backend=('cv2', 'pillow'), interpolation=('bilinear',))
#: The steps that change pictures, with their settings that can be described, and the values of these; None is any.
STEPS = dict(
    ResizeEdge=dict(_RESIZE, edge=None),
    Resize=dict(_RESIZE, keep_ratio=(False,), clip_object_border=None),
    CenterCrop=dict(crop_size=None, auto_pad=(False,), clip_object_border=None),
)
#: Reading and packing, with their settings likewise; of these without a dict, no setting changes pixels.
OTHERS = dict(LoadImageFromFile=dict(backend_args=None), LoadAnnotations=None, PackInputs=None, PackDetInputs=None)


def find_test_set(cfg: Config) -> dict:
    """The config of the test set, or of the first one inside wrappers such as ``ConcatDataset``.

    Raises:
        InputError: if there is none with a pipeline, or there are several that prepare pictures differently.
    """
    found = list(leaf_configs((cfg.get('test_dataloader') or {}).get('dataset') or {}))
    if not found or not found[0].get('pipeline'):
        raise InputError('the config has no test pipeline: set test_dataloader.dataset.pipeline')
    if any(other.get('pipeline') != found[0].pipeline for other in found):
        raise InputError('the test sets have different pipelines: export needs a config whose test sets share one')
    return found[0]


def preprocess_steps(cfg: Config) -> tuple[list[Step], tuple[int, int]]:
    """Read from the test pipeline how a picture becomes the model's input.

    Returns:
        The steps, and (h, w) of the result.

    Raises:
        InputError: if the pipeline does something else than resize and crop, or the result has no fixed size.
    """
    steps = [read for step in find_test_set(cfg).pipeline if (read := _read_step(step))]
    size = None
    for step in steps:
        if size or step.type == 'Resize':
            size = step.size(*(size or (0, 0)))
        elif step.type == 'CenterCrop':
            size = tuple(step.crop_size)
    if size is None:
        raise InputError(
            'the test pipeline gives no fixed size: add CenterCrop or Resize to it, '
            "such as dict(type='Resize', scale=64) if all pictures have 64 x 64 pixels"
        )
    divisor = (cfg.model.get('data_preprocessor') or {}).get('pad_size_divisor', 1)
    if size[0] % divisor or size[1] % divisor:
        raise InputError(f'pictures of {size[0]} x {size[1]} would be padded to multiples of {divisor}: resize to some')
    return steps, size[::-1]


def _kind(step: dict) -> str:
    kind = step['type']
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _read_step(step: dict) -> Step | None:
    """Turn a step's config into ours, or None if it leaves the pixels alone."""
    kind = _kind(step)
    if kind not in STEPS | OTHERS:
        raise InputError(f'the test pipeline has {kind}: export knows {", ".join(STEPS)}')
    known = (STEPS | OTHERS)[kind]
    for name, value in step.items() if known is not None else ():
        if name not in ('type', '_scope_') and (name not in known or value not in (known[name] or (value,))):
            raise InputError(f'{kind} of the test pipeline has {name}={value!r}: export cannot do that')
    if kind in OTHERS:
        return None
    name = 'crop_size' if kind == 'CenterCrop' else 'scale'
    value = step.get(name)
    settings = {name: (value, value) if isinstance(value, int) and kind != 'ResizeEdge' else value}
    if kind != 'CenterCrop':
        settings |= dict(backend=step.get('backend', 'cv2'))
    if kind == 'ResizeEdge':
        settings |= dict(edge=step.get('edge', 'short'))
    try:
        return Step(kind, **settings)
    except ValueError as error:
        raise InputError(f'{error} in the test pipeline: it is {dict(step)}') from None


def own_preprocess(cfg: Config, model: nn.Module) -> Callable[[np.ndarray], Tensor]:
    """Make a function from a picture to the model's input (1, 3, h, w) as the config's pipeline and the model make it."""
    # Annotations are of no concern here.
    pipeline = Compose([step for step in find_test_set(cfg).pipeline if _kind(step) != 'LoadAnnotations'])

    def prepare(image: np.ndarray) -> Tensor:
        with tempfile.TemporaryDirectory() as folder:
            path = f'{folder}/picture.png'
            cv2.imwrite(path, image)
            data = pipeline(dict(img_path=path, img_id=0))
        return torch.stack(list(model.data_preprocessor(pseudo_collate([data]))['inputs'])).float()

    return prepare
