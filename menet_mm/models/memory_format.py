"""The channels_last memory format for a model that runs on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from menet_mm.errors import InputError


def give_channels_last(model: nn.Module) -> list[RemovableHandle]:
    """Convert the images that a model's backbone takes, unless they are on a GPU; the handles' ``remove`` ends it.

    Layers keep the format of their input, so the weights stay as they are. InputError if there is no ``backbone``.
    """
    if not hasattr(model, 'backbone'):
        raise InputError(
            f'channels_last needs a model with a backbone, which {type(model).__name__} lacks: set channels_last=False'
        )
    return [model.backbone.register_forward_pre_hook(_channels_last), *guard_operators(model)]


def guard_operators(model: nn.Module) -> list[RemovableHandle]:
    """Give mmcv's own operators, such as RoIAlign, tensors in the default format; the handles' ``remove`` ends it.

    They ignore strides, so another format would give wrong results.
    """
    operators = [module for module in model.modules() if type(module).__module__.startswith('mmcv.ops.')]
    return [module.register_forward_pre_hook(_default_format) for module in operators]


def _channels_last(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    image, *others = args
    return (image if image.is_cuda else image.contiguous(memory_format=torch.channels_last), *others)


def _default_format(module: nn.Module, args: tuple) -> tuple:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in args)
