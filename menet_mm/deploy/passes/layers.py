"""Passes that change layers one by one, in any model."""

import torch
from mmcv.cnn import ConvAWS2d, ConvWS2d, fuse_conv_bn
from torch import Tensor, nn

from menet_mm.errors import InputError
from menet_mm.models.memory_format import guard_operators


def fold_norms(model: nn.Module) -> None:
    """Fold batch norm into the convolutions in front of it."""
    if any(isinstance(module, (ConvWS2d, ConvAWS2d)) for module in model.modules()):
        # Their weights are standardized in each run, what is folded into them as well.
        raise InputError('no inference form of convolutions that standardize their weights: use conv_cfg=None')
    fuse_conv_bn(model)


def channels_last(model: nn.Module) -> None:
    """Give the weights of convolutions the channels_last memory format, which their results then have."""
    model.to(memory_format=torch.channels_last)
    guard_operators(model)


class TransposedLinear(nn.Module):
    """A linear layer that keeps its weights transposed: (N, C_in) -> (N, C_out)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous())
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight if self.bias is None else x @ self.weight + self.bias


def transposed_linear(model: nn.Module) -> None:
    """Transpose the weights of linear layers once, not in every run."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            # torch's attention reads the weights of its layers without calling them.
            if type(child) is nn.Linear and not type(module).__module__.startswith('torch.nn.modules.'):
                setattr(module, name, TransposedLinear(child))


class GlobalAverage(nn.Module):
    """The average of each channel: (N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, tuple(map(int, x.shape[-2:])))  # old torch traces sizes as tensors


def global_average(model: nn.Module) -> None:
    """Write the global average as a pooling, which can be blocked; torch's exporter writes ReduceMean."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(module, name, GlobalAverage())
