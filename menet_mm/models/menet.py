"""MENet, the merging-and-evolution network.

Paper: "Merging and Evolution: Improving Convolutional Neural Networks for Mobile Applications", IJCNN 2018,
https://arxiv.org/abs/1803.09127, section IV and table I. Authors' code: https://github.com/clavichord93/MENet.
Shape letters are defined in :mod:`menet_mm.models.me_module`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from menet_mm.errors import InputError
from menet_mm.registry import MODELS

from .me_module import ConfigDict, MEModule

ARCH_KEYS = ('channels', 'stem_channels', 'side_channels', 'groups', 'depths')


def _variant(channels: int, stem_channels: int, side_channels: int, groups: int) -> dict:
    return dict(
        channels=(channels, 2 * channels, 4 * channels),
        stem_channels=stem_channels,
        side_channels=side_channels,
        groups=groups,
        depths=(4, 8, 4),
    )


@MODELS.register_module()
class MENet(BaseModule):
    """MENet backbone: a stem of stride 4 and three stages of strides 8, 16 and 32.

    Args:
        arch: a name in :attr:`ARCHS`, or a dict for a network of one's own with the keys ``channels`` (C_out of each
            stage), ``stem_channels``, ``side_channels`` (k), ``groups`` (g) and ``depths`` (units in each stage).
        in_channels: channels of the image.
        out_indices: stages whose outputs are returned; 0, 1, 2 have strides 8, 16, 32.
        frozen_stages: -1 trains everything, 0 freezes the stem, and i the stem and the first i stages: their parameters
            get no gradient and their norm layers stay in eval mode.
        norm_eval: keep every norm layer in eval mode, so that running statistics do not change.
        conv_cfg: mmcv's convolution layer config; None is ``Conv2d``.
        norm_cfg: mmcv's norm layer config.
        act_cfg: mmcv's activation layer config.
        with_cp: recompute units in the backward pass, which trades time for memory.
        init_cfg: mmengine's initialization config. None is the authors' initialization: convolutions Kaiming normal by
            fan-out, norm layers 1 and 0. ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` loads weights.

    Raises:
        InputError: if ``arch`` is unknown or impossible, or a stage index is out of range.

    Example:
        >>> import torch
        >>> from menet_mm import MENet
        >>> feats = MENet('228-12x1-g3', out_indices=(1, 2))(torch.rand(1, 3, 224, 224))
        >>> [tuple(f.shape) for f in feats]
        [(1, 456, 14, 14), (1, 912, 7, 7)]
    """

    #: Table I of the paper and the authors' repository; 160-8x1 is known from pytorchcv. Name: C-kx1-g.
    ARCHS: dict[str, dict] = {
        '108-8x1-g3': _variant(108, stem_channels=12, side_channels=8, groups=3),
        '128-8x1-g4': _variant(128, stem_channels=12, side_channels=8, groups=4),
        '160-8x1-g8': _variant(160, stem_channels=16, side_channels=8, groups=8),
        '228-12x1-g3': _variant(228, stem_channels=24, side_channels=12, groups=3),
        '256-12x1-g4': _variant(256, stem_channels=24, side_channels=12, groups=4),
        '348-12x1-g3': _variant(348, stem_channels=24, side_channels=12, groups=3),
        '352-12x1-g8': _variant(352, stem_channels=24, side_channels=12, groups=8),
        '456-24x1-g3': _variant(456, stem_channels=48, side_channels=24, groups=3),
    }

    def __init__(
        self,
        arch: str | dict = '228-12x1-g3',
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
        norm_cfg = norm_cfg or dict(type='BN')
        act_cfg = act_cfg or dict(type='ReLU')
        super().__init__(
            init_cfg
            or [
                dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu', distribution='normal'),
                dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1, bias=0),
            ]
        )
        arch = self._resolve(arch)
        num_stages = len(arch['depths'])
        if not out_indices or any(i not in range(num_stages) for i in out_indices):
            raise InputError(f'out_indices must name stages in 0..{num_stages - 1}, but got {tuple(out_indices)}')
        if frozen_stages not in range(-1, num_stages + 1):
            raise InputError(f'frozen_stages must lie in -1..{num_stages}, but got {frozen_stages}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        layer_cfg = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)
        width = arch['stem_channels']
        self.stem = nn.Sequential(
            ConvModule(in_channels, width, 3, stride=2, padding=1, **layer_cfg),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        for i, (channels, depth) in enumerate(zip(arch['channels'], arch['depths'], strict=True)):
            units = [
                MEModule(
                    width if j == 0 else channels,
                    channels,
                    side_channels=arch['side_channels'],
                    groups=arch['groups'],
                    stride=2 if j == 0 else 1,
                    # The stem is too narrow to be split (ShuffleNet, section 3.2), so the first unit compresses densely.
                    group_compress=(i, j) != (0, 0),
                    with_cp=with_cp,
                    **layer_cfg,
                )
                for j in range(depth)
            ]
            self.stages.append(nn.Sequential(*units))
            width = channels
        self._freeze()

    @classmethod
    def _resolve(cls, arch: str | dict) -> dict:
        if not isinstance(arch, dict):
            if arch not in cls.ARCHS:
                raise InputError(f"unknown arch '{arch}': choose one of {', '.join(cls.ARCHS)}, or give a dict")
            return cls.ARCHS[arch]
        if set(arch) != set(ARCH_KEYS):
            raise InputError(
                f'an arch dict must have exactly the keys {", ".join(ARCH_KEYS)}, but got {", ".join(arch)}'
            )
        if not arch['depths'] or len(arch['channels']) != len(arch['depths']) or min(arch['depths']) < 1:
            raise InputError(
                'an arch dict needs one width and one positive depth for each stage, '
                f'but got channels={arch["channels"]} and depths={arch["depths"]}'
            )
        return arch

    def _freeze(self) -> None:
        frozen = [] if self.frozen_stages < 0 else [self.stem, *self.stages[: self.frozen_stages]]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> MENet:
        """Set the mode, and keep what is frozen in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract features.

        Args:
            x: images (N, in_channels, H, W) with H, W of at least 32 pixels.

        Returns:
            One map for each entry of ``out_indices``: (N, channels[i], ceil(H / 2^(i + 3)), ceil(W / 2^(i + 3))).
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
