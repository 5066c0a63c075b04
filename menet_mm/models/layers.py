"""Layers that are torch's own, but train faster on a CPU; docs/deployment.md has figures."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from menet_mm.registry import MODELS

#: The convolution layer of our networks, unless a conv_cfg is given.
CONV = dict(type='menet_mm.MatmulConv2d')


@MODELS.register_module()
class MatmulConv2d(nn.Conv2d):
    """torch's convolution, of which those of 1x1 are matrix products while a CPU trains.

    For those torch copies maps into blocks of channels and back, which takes longer than the products of the maps as they
    lie in memory. Inference, and so every export, is torch's, and so are other devices, the channels_last memory format and
    all other convolutions. Arguments and weights are those of ``torch.nn.Conv2d``.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        if not (_trains_on_cpu(self, x) and self._pays(x)):
            return super().forward(x)
        n, _, h, w = x.shape
        inputs, outputs = self._group_widths()
        maps = x.view(n, self.groups, inputs, h * w)
        y = (self.weight.view(self.groups, outputs, inputs) @ maps).view(n, self.out_channels, h, w)
        return y if self.bias is None else y + self.bias[:, None, None]

    def _group_widths(self) -> tuple[int, int]:
        return self.in_channels // self.groups, self.out_channels // self.groups

    def _pays(self, x: Tensor) -> bool:
        if not self.kernel_size == self.stride == (1, 1) or self.padding != (0, 0):
            return False
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            return False  # torch takes a single picture, and says what is wrong
        # The products make a gradient of the weights for each picture. Where this is far larger than the maps, they lose.
        inputs, outputs = self._group_widths()
        return inputs * outputs <= 2 * x.shape[2] * x.shape[3] * (inputs + outputs)


class AveragePool(nn.AvgPool2d):
    """The 3x3 average of stride 2 that counts its padding; a depthwise convolution while a CPU trains, which is faster."""

    def __init__(self) -> None:
        super().__init__(3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        # In bfloat16 a ninth is off by 0.2 %.
        if not _trains_on_cpu(self, x) or torch.is_autocast_enabled('cpu'):
            return super().forward(x)
        ninths = x.new_full((x.shape[1], 1, 3, 3), 1 / 9)
        return nn.functional.conv2d(x, ninths, stride=2, padding=1, groups=x.shape[1])


def _trains_on_cpu(module: nn.Module, x: Tensor) -> bool:
    """Tell whether a layer is in a training that its faster form was measured for."""
    return (
        # torch.compile makes more of convolutions, and cannot look into what follows; an exported graph shall have them, too.
        not torch.compiler.is_compiling()
        and module.training
        and x.device.type == 'cpu'
        and x.is_contiguous()
        and torch.backends.mkl.is_available()
    )
