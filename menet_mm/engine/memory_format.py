"""The channels_last memory format, on a CPU faster in some cases; docs/deployment.md has figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def give_channels_last(model: nn.Module) -> list[RemovableHandle]:
    """Convert the images that a model's backbone takes, unless they are on a GPU.

    Layers keep the format that they get, so the weights stay as they are.

    Args:
        model: a classifier or detector, with a ``backbone``.

    Returns:
        Handles whose ``remove`` ends it.
    """
    return [model.backbone.register_forward_pre_hook(_channels_last), *guard_operators(model)]


def guard_operators(model: nn.Module) -> list[RemovableHandle]:
    """Give mmcv's own operators, such as RoIAlign, tensors in the default format.

    They take any memory for that format's, and so would compute nonsense.

    Returns:
        Handles whose ``remove`` ends it.
    """
    operators = [module for module in model.modules() if type(module).__module__.startswith('mmcv.ops.')]
    return [module.register_forward_pre_hook(_default_format) for module in operators]


def _channels_last(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    image, *others = args
    return (image if image.is_cuda else image.contiguous(memory_format=torch.channels_last), *others)


def _default_format(module: nn.Module, args: tuple) -> tuple:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in args)
