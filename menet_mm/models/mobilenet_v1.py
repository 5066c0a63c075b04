"""MobileNet v1.

Paper: "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
https://arxiv.org/abs/1704.04861, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from menet_mm.registry import MODELS

from .backbone import StagedBackbone
from .layers import CONV
from .me_module import ConfigDict

#: As the MENet authors initialize their MobileNet: by fan-in, other than MENet and ShuffleNet.
AUTHORS_INIT = [
    dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='relu', distribution='normal'),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1, bias=0),
]


def _variant(multiplier: float) -> dict:
    stem, *channels = (int(width * multiplier) for width in (32, 256, 512, 1024))
    return dict(channels=tuple(channels), stem_channels=stem, depths=(2, 6, 2))


class DepthwiseSeparableUnit(DepthwiseSeparableConvModule):
    """mmcv's depthwise 3x3 and pointwise 1x1 convolution, which may be recomputed in the backward pass.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        stride: of the depthwise convolution.
        conv_cfg: mmcv's convolution layer config; None is :class:`~menet_mm.models.layers.MatmulConv2d`.
        norm_cfg: mmcv's norm layer config; None is no norm layer.
        act_cfg: mmcv's activation layer config, behind both; None is no activation.
        with_cp: recompute the unit in the backward pass.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        conv_cfg: ConfigDict | None = None,
        norm_cfg: ConfigDict | None = None,
        act_cfg: ConfigDict | None = None,
        with_cp: bool = False,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride=stride,
            padding=1,
            conv_cfg=conv_cfg or CONV,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, ceil(H / stride), ceil(W / stride))."""
        if self.with_cp and x.requires_grad:
            return checkpoint(super().forward, x, use_reentrant=False)
        return super().forward(x)


@MODELS.register_module()
class MobileNetV1(StagedBackbone):
    """MobileNet v1 backbone, with the taps and options of :class:`~menet_mm.MENet`.

    The stem is all of stride 4: a 3x3 convolution and three depthwise separable units of 2, 4 and 4 times its width.

    Args:
        arch: a name in :attr:`ARCHS`, the width multiplier, also as a number, or a dict with the keys ``channels`` (of each
            stage), ``stem_channels`` and ``depths`` (units in each stage).
        in_channels: channels of the image.
        out_indices: stages whose outputs are returned; 0, 1, 2 have strides 8, 16, 32.
        frozen_stages: -1 trains everything, 0 freezes the stem, and i the stem and the first i stages.
        norm_eval: keep every norm layer in eval mode.
        conv_cfg: mmcv's convolution layer config; None is :class:`~menet_mm.models.layers.MatmulConv2d`.
        norm_cfg: mmcv's norm layer config.
        act_cfg: mmcv's activation layer config.
        with_cp: recompute units in the backward pass, which trades time for memory.
        init_cfg: mmengine's initialization config. None is the MENet authors': convolutions Kaiming normal by fan-in.

    Raises:
        InputError: if ``arch`` is unknown or impossible, or a stage index is out of range.
    """

    ARCHS = {'1.0': _variant(1.0), '0.5': _variant(0.5), '0.25': _variant(0.25)}

    def __init__(
        self,
        arch: str | float | dict = '1.0',
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        conv_cfg: ConfigDict | None = None,
        norm_cfg: ConfigDict | None = None,
        act_cfg: ConfigDict | None = None,
        with_cp: bool = False,
        init_cfg: ConfigDict | list[ConfigDict] | None = None,
    ) -> None:
        arch = self._resolve(arch)
        super().__init__(len(arch['depths']), out_indices, frozen_stages, norm_eval, init_cfg or AUTHORS_INIT)
        layer_cfg = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg or dict(type='BN'), act_cfg=act_cfg or dict(type='ReLU'))
        width = arch['stem_channels']
        self.stem = nn.Sequential(
            ConvModule(in_channels, width, 3, stride=2, padding=1, **layer_cfg),
            DepthwiseSeparableUnit(width, 2 * width, with_cp=with_cp, **layer_cfg),
            DepthwiseSeparableUnit(2 * width, 4 * width, stride=2, with_cp=with_cp, **layer_cfg),
            DepthwiseSeparableUnit(4 * width, 4 * width, with_cp=with_cp, **layer_cfg),
        )
        self.stages = nn.ModuleList()
        width *= 4
        for channels, depth in zip(arch['channels'], arch['depths'], strict=True):
            units = [
                DepthwiseSeparableUnit(
                    width if j == 0 else channels,
                    channels,
                    stride=2 if j == 0 else 1,
                    with_cp=with_cp,
                    **layer_cfg,
                )
                for j in range(depth)
            ]
            self.stages.append(nn.Sequential(*units))
            width = channels
        self._freeze()
