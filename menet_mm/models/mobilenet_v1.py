"""MobileNet v1 ("MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017).

Paper: https://arxiv.org/abs/1704.04861, table 1.
"""

from functools import partial
from typing import Any

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from menet_mm.registry import MODELS

from .backbone import StagedBackbone


def _variant(multiplier: float) -> dict:
    stem, *channels = (int(width * multiplier) for width in (32, 256, 512, 1024))
    return dict(channels=tuple(channels), stem_channels=stem, depths=(2, 6, 2))


class DepthwiseSeparableUnit(DepthwiseSeparableConvModule):
    """mmcv's depthwise 3x3 and pointwise 1x1 convolution, which ``with_cp`` recomputes in the backward pass."""

    def __init__(self, *args: Any, with_cp: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride))."""
        if self.with_cp and x.requires_grad:
            return checkpoint(super().forward, x, use_reentrant=False)
        return super().forward(x)


@MODELS.register_module()
class MobileNetV1(StagedBackbone):
    """MobileNet v1 backbone.

    The stem is all of stride 4: a 3x3 convolution and three depthwise separable units of 2, 4 and 4 times its width. ``arch``
    is the width multiplier, also as a number, or a dict with the keys ``channels``, ``stem_channels`` and ``depths``. The
    arguments are explained at :class:`~menet_mm.models.backbone.StagedBackbone`.
    """

    ARCHS = {'1.0': _variant(1.0), '0.5': _variant(0.5), '0.25': _variant(0.25)}
    INIT_MODE = 'fan_in'

    def __init__(self, arch: str | float | dict = '1.0', *args: Any, **kwargs: Any) -> None:
        super().__init__(arch, *args, **kwargs)
        unit = partial(DepthwiseSeparableUnit, kernel_size=3, padding=1, with_cp=self.with_cp, **self.layer_cfg)
        width = self.arch['stem_channels']
        self.stem = nn.Sequential(
            ConvModule(self.in_channels, width, 3, stride=2, padding=1, **self.layer_cfg),
            unit(width, 2 * width),
            unit(2 * width, 4 * width, stride=2),
            unit(4 * width, 4 * width),
        )
        self._make_stages(4 * width, unit)
