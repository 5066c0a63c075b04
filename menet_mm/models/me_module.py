"""The merging-and-evolution (ME) module.

Paper: "Merging and Evolution: Improving Convolutional Neural Networks for Mobile Applications", IJCNN 2018,
https://arxiv.org/abs/1803.09127, section III. Authors' code: https://github.com/clavichord93/MENet.

Shape letters used in this package: N batch; C_in and C_out channels that enter and leave a unit; b = C_out / 4 the width of its
bottleneck; g groups of its two grouped 1x1 convolutions; k width of the side path (narrow: 8, 12 or 24); s stride, 1 or 2;
H, W height and width on entry; H' = ceil(H / s), W' = ceil(W / s).
"""

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from menet_mm.errors import InputError
from menet_mm.registry import MODELS

#: The paper's side path; a side_cfg of None means none.
ME_PATH = dict(type='menet_mm.MergingEvolution')


class ConfiguredModule(BaseModule):
    """A module that keeps mmcv's layer configs as ``layer_cfg``; those of None are torch's Conv2d, BatchNorm2d and ReLU."""

    def __init__(
        self,
        conv_cfg: dict | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        norm_cfg, act_cfg = norm_cfg or dict(type='BN'), act_cfg or dict(type='ReLU')
        self.layer_cfg = dict(conv_cfg=conv_cfg, norm_cfg=norm_cfg, act_cfg=act_cfg)


class ConvNormAct(ConvModule):
    """mmcv's ``ConvModule`` with fewer steps in Python, for which a GPU waits when pictures come one by one."""

    def forward(self, x: Tensor, activate: bool = True, norm: bool = True) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        usual = self.order == ('conv', 'norm', 'act') and not self.with_explicit_padding
        if not (usual and activate and norm) or self.efficient_conv_bn_eval_forward:
            return super().forward(x, activate, norm)
        for layer in self._modules.values():
            x = layer(x)
        return x


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave channel groups (https://arxiv.org/abs/1707.01083, section 3.1): ``i * b/g + j`` moves to ``j * g + i``.

    (N, b, H, W) -> (N, b, H, W) in the same memory format; b must be divisible by ``groups``.
    """
    # Not torch's own, which torch.onnx's TorchScript exporter, and so MMDeploy, does not know.
    n, b, h, w = x.shape
    if x.is_contiguous(memory_format=torch.channels_last):
        x = x.permute(0, 2, 3, 1).reshape(n, h, w, groups, b // groups)
        return x.transpose(3, 4).reshape(n, h, w, b).permute(0, 3, 1, 2)
    return x.reshape(n, groups, b // groups, h, w).transpose(1, 2).reshape(n, b, h, w)


@MODELS.register_module()
class MergingEvolution(ConfiguredModule):
    """The two operations of the paper: merge all channels into a narrow map, evolve it back into a gate.

    Merging (section III-A) is a 1x1 convolution b -> k over *all* channels, so that every group contributes. Evolution
    (section III-B) is a 3x3 convolution k -> k, which adds spatial context, and a 1x1 convolution k -> b with a sigmoid:
    one gate per pixel and channel. ``stride`` is s, so that the gate fits features that are downsampled meanwhile.

    ``channels`` and ``side_channels`` are b and k. For ablations, ``conv=False`` leaves the 3x3 convolution out (the merging
    one then has the stride), and ``fusion='add'`` adds a map without sigmoid to the features, instead of ``'multiply'``.
    Raises InputError if a width is not positive or ``fusion`` is unknown.
    """

    def __init__(
        self,
        channels: int,
        side_channels: int,
        stride: int = 1,
        conv: bool = True,
        fusion: str = 'multiply',
        **configs: dict | None,
    ) -> None:
        super().__init__(**configs)
        _check_widths(channels, side_channels)
        if fusion not in ('multiply', 'add'):
            raise InputError(f"fusion must be 'multiply' or 'add', but got {fusion!r}")
        self.fusion = fusion
        k, gate = side_channels, dict(type='Sigmoid') if fusion == 'multiply' else None
        self.merge = ConvNormAct(channels, k, 1, stride=1 if conv else stride, **self.layer_cfg)
        self.conv = ConvNormAct(k, k, 3, stride, padding=1, **self.layer_cfg) if conv else nn.Identity()
        self.evolve = ConvNormAct(k, channels, 1, **{**self.layer_cfg, 'act_cfg': gate})

    def forward(self, y: Tensor) -> Tensor:
        """Compute the gate of ``y`` (N, b, H, W): (N, b, H', W') in (0, 1), or any values with ``fusion='add'``."""
        return self.evolve(self.conv(self.merge(y)))

    def fuse(self, d: Tensor, y: Tensor) -> Tensor:
        """Apply the gate of ``y`` (N, b, H, W) to the features ``d`` (N, b, H', W')."""
        return d * self(y) if self.fusion == 'multiply' else d + self(y)


@MODELS.register_module()
class SqueezeExcitation(ConfiguredModule):
    """Squeeze-and-excitation (https://arxiv.org/abs/1709.01507) in place of the ME path, for ablations.

    It has one gate per channel instead of one per pixel and channel, and as many weights as :class:`MergingEvolution` with the
    same b and k: 2 b k + 9 k^2. The gate needs no ``stride``, and as in its paper there is no norm layer.
    """

    def __init__(self, channels: int, side_channels: int, stride: int = 1, **configs: dict | None) -> None:
        super().__init__(**configs)
        _check_widths(channels, side_channels)
        hidden = round(side_channels + 4.5 * side_channels**2 / channels)
        layer_cfg = dict(self.layer_cfg, norm_cfg=None)
        self.squeeze = ConvNormAct(channels, hidden, 1, **layer_cfg)
        self.excite = ConvNormAct(hidden, channels, 1, **{**layer_cfg, 'act_cfg': dict(type='Sigmoid')})

    def forward(self, y: Tensor) -> Tensor:
        """Compute the gate (N, b, 1, 1) of ``y`` (N, b, H, W)."""
        return self.excite(self.squeeze(y.mean((2, 3), keepdim=True)))

    def fuse(self, d: Tensor, y: Tensor) -> Tensor:
        """Apply the gate of ``y`` (N, b, H, W) to the features ``d`` (N, b, H', W')."""
        return d * self(y)


def _check_widths(channels: int, side_channels: int | None) -> None:
    if channels < 1 or (side_channels or 0) < 1:
        raise InputError(f'the side path needs positive widths, but got {channels=}, {side_channels=}')


@MODELS.register_module()
class MEModule(ConfiguredModule):
    """The paper's unit (figure 3): a ShuffleNet bottleneck whose depthwise features are gated by the side path.

    With ``stride=1`` the input is added to the result. With ``stride=2`` the averaged input is concatenated behind it, so
    the residual branch has C_out - C_in channels. The depthwise and the expanding convolution have no activation (as in the
    authors' code). Raises InputError if the widths cannot be split into ``groups`` or do not fit ``stride``.

    Args:
        side_channels, groups: k (None if there is no side path) and g.
        group_compress: False makes the first 1x1 convolution dense, as in the first unit of the network.
        side_cfg: the side path, for ablations: settings of :class:`MergingEvolution`, such as ``dict(conv=False)``, or
            ``dict(type=...)`` for another registered module in its place, such as ``'menet_mm.SqueezeExcitation'``.
            None leaves it out, which is ShuffleNet's unit.
        with_cp: recompute the unit in the backward pass, which trades time for memory.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        side_channels: int | None,
        groups: int,
        stride: int = 1,
        group_compress: bool = True,
        side_cfg: dict | None = ME_PATH,
        with_cp: bool = False,
        **configs: dict | None,
    ) -> None:
        super().__init__(**configs)
        if stride not in (1, 2):
            raise InputError(f'stride must be 1 or 2, but got {stride}')
        if stride == 1 and in_channels != out_channels:
            raise InputError(f'a unit of stride 1 keeps its width, but got {in_channels} -> {out_channels} channels')
        if stride == 2 and in_channels >= out_channels:
            raise InputError(f'a unit of stride 2 must widen, but got {in_channels} -> {out_channels} channels')
        if groups < 1 or out_channels % (4 * groups):
            raise InputError(f'out_channels must be divisible by 4 * groups, but got {out_channels=} and {groups=}')
        b, branch = out_channels // 4, out_channels if stride == 1 else out_channels - in_channels
        if branch % groups or (group_compress and in_channels % groups):
            raise InputError(f'{in_channels} -> {branch} channels cannot be split into {groups} groups')
        self.groups, self.with_cp = groups, with_cp
        act_cfg, linear = self.layer_cfg['act_cfg'], dict(self.layer_cfg, act_cfg=None)
        self.compress = ConvNormAct(in_channels, b, 1, groups=groups if group_compress else 1, **self.layer_cfg)
        self.depthwise = ConvNormAct(b, b, 3, stride, padding=1, groups=b, **linear)
        self.side = None
        if side_cfg is not None:
            given = {**ME_PATH, 'side_channels': side_channels, **side_cfg}
            self.side = MODELS.build(dict(given, channels=b, stride=stride, **self.layer_cfg))
        self.expand = ConvNormAct(b, branch, 1, groups=groups, **linear)
        # torch's default counts the padding, and so do the authors.
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None
        # In place, as in mmcv's ConvModule: nothing else needs its input.
        in_place = dict(inplace=True) if act_cfg['type'] in ('ReLU', 'ReLU6', 'LeakyReLU') else {}
        self.act = MODELS.build({**in_place, **act_cfg})

    def _forward(self, x: Tensor) -> Tensor:
        y = channel_shuffle(self.compress(x), self.groups)
        d = self.depthwise(y)
        z = self.expand(d if self.side is None else self.side.fuse(d, y))
        return self.act(z.add_(x) if self.pool is None else torch.cat((z, self.pool(x)), dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W')."""
        if self.with_cp and x.requires_grad:
            return checkpoint(self._forward, x, use_reentrant=False)
        return self._forward(x)
