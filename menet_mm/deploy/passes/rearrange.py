"""Carrying out a channel layout: the stem and the units of a MENet or ShuffleNet with their weights moved and padded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from menet_mm.models import MEModule, MENet, MergingEvolution, SqueezeExcitation

from .layout import ChannelMap, NetworkLayout, UnitLayout


def rearrange(model: nn.Module, block: int, passes: Sequence[Callable[[NetworkLayout], None]]) -> None:
    """Rearrange every MENet and ShuffleNet in a model, in place. Those with layers that are not known here stay as they are.

    Args:
        model: norm layers must be folded.
        block: one of ``BLOCKS``.
        passes: what changes the layout, in order.
    """
    for backbone in [module for module in model.modules() if isinstance(module, MENet) and _is_known(module)]:
        layout = read_layout(backbone, block)
        for change in passes:
            change(layout)
        _carry_out(backbone, layout)


def read_layout(backbone: MENet, block: int) -> NetworkLayout:
    """The layout of a network as it was trained."""
    return NetworkLayout(
        block=block,
        stem=ChannelMap.spaced(backbone.stem[0].conv.out_channels),
        stages=[[_read_unit(unit, block) for unit in stage] for stage in backbone.stages],
        returned=tuple(backbone.out_indices),
    )


def _read_unit(unit: MEModule, block: int) -> UnitLayout:
    compress, expand = unit.compress.conv, unit.expand.conv
    entering = ChannelMap.spaced(compress.in_channels)
    return UnitLayout(
        block=block,
        groups=unit.groups,
        channels=compress.out_channels,
        compresses_densely=compress.groups == 1,
        relu=isinstance(unit.act, nn.ReLU),
        entering=entering,
        branch=ChannelMap.spaced(expand.out_channels),
        pooled=None if unit.pool is None else entering,
        side=None if unit.side is None else ChannelMap.spaced(_ends(unit.side)[0].conv.out_channels),
    )


def _is_known(backbone: MENet) -> bool:
    units = [unit for stage in backbone.stages for unit in stage]
    sides = [unit.side for unit in units if type(unit) is MEModule and unit.side is not None]
    layers = [module for module in backbone.modules() if isinstance(module, ConvModule)]
    return (
        all(type(unit) is MEModule for unit in units)
        # No subclass, either: it may do more with the channels, which move.
        and all(type(side) in (MergingEvolution, SqueezeExcitation) for side in sides)
        and all(type(layer.conv) is nn.Conv2d and isinstance(layer.norm, nn.Identity | None) for layer in layers)
    )


def _carry_out(backbone: MENet, layout: NetworkLayout) -> None:
    backbone.stem[0].conv = move_channels(backbone.stem[0].conv, outputs=layout.stem)
    for i, (stage, plans) in enumerate(zip(backbone.stages, layout.stages, strict=True)):
        for j, plan in enumerate(plans):
            unit = RearrangedUnit(stage[j], plan)
            # A pooling of one pixel is an identity that has a blocked kernel.
            stage[j] = nn.Sequential(unit, nn.MaxPool2d(1)) if plan.to_blocks else unit
        leaving = plans[-1].leaving
        if i in layout.returned and leaving.padded:
            stage.append(_gather(leaving, leaving.dense(), backbone.stem[0].conv.weight))


class RearrangedUnit(nn.Module):
    """An ME module, or ShuffleNet's unit, in a given layout.

    Args:
        unit: the unit, with folded norm layers.
        layout: where its channels go.
    """

    def __init__(self, unit: MEModule, layout: UnitLayout) -> None:
        super().__init__()
        weight = unit.compress.conv.weight
        self.compress = move_channels(unit.compress.conv, layout.entering, layout.compressed)
        # Not the unit's other activation: a PReLU learns.
        self.compress_act = unit.compress.activate
        self.shuffle_in_front = _gather(layout.compressed.select(layout.shuffled), layout.gated, weight)
        self.depthwise = move_channels(unit.depthwise.conv, outputs=layout.gated)
        self.side = None if unit.side is None else _move_side(unit.side, layout.gated, layout.side)
        self.shuffle_behind = _gather(layout.gated, layout.expanded, weight)
        self.expand = move_channels(unit.expand.conv, layout.expanded, layout.branch)
        self.pool = None
        if layout.pooled is not None:
            pool = _average(layout, weight)
            drop = _gather(layout.entering, layout.pooled, weight)
            self.pool = nn.Sequential(pool, drop)
        self.act = unit.act
        self.activation_before_concat = layout.activation_before_concat

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W'), as :meth:`MEModule.forward`, with padding."""
        y = self.shuffle_in_front(self.compress_act(self.compress(x)))
        d = self.depthwise(y)
        gated = d if self.side is None else self.side.fuse(d, y)
        z = self.expand(self.shuffle_behind(gated))
        if self.pool is None:
            return self.act(z + x)
        if self.activation_before_concat:
            return torch.cat((self.act(z), self.pool(x)), dim=1)
        return self.act(torch.cat((z, self.pool(x)), dim=1))


class Gather(nn.Module):
    """Some channels, in an order.

    Args:
        index: which.
        like: a tensor on the device to use.
    """

    def __init__(self, index: list[int], like: Tensor) -> None:
        super().__init__()
        self.register_buffer('index', torch.tensor(index, device=like.device))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, len(index), H, W)."""
        # Not by index: torch's exporter would write GatherND between two Transposes instead of Gather.
        return x.index_select(1, self.index)


def _gather(source: ChannelMap, target: ChannelMap, like: Tensor) -> nn.Module:
    index = source.gather(target)
    return nn.Identity() if index is None else Gather(index, like)


def _average(layout: UnitLayout, like: Tensor) -> nn.Module:
    """The 3x3 average of stride 2 that counts its padding."""
    if not layout.average_as_convolution:
        return nn.AvgPool2d(3, stride=2, padding=1)
    width = layout.entering.width
    conv = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False).to(like)
    nn.init.constant_(conv.weight, 1 / 9)
    return conv


def _ends(side: MergingEvolution | SqueezeExcitation) -> tuple[ConvModule, ConvModule]:
    return (side.merge, side.evolve) if isinstance(side, MergingEvolution) else (side.squeeze, side.excite)


def _move_side(
    side: MergingEvolution | SqueezeExcitation, outside: ChannelMap, inside: ChannelMap
) -> MergingEvolution | SqueezeExcitation:
    side = copy.deepcopy(side)
    first, last = _ends(side)
    first.conv = move_channels(first.conv, outside, inside)
    if isinstance(getattr(side, 'conv', None), ConvModule):
        side.conv.conv = move_channels(side.conv.conv, inside, inside)
    last.conv = move_channels(last.conv, inside, outside)
    return side


def move_channels(conv: nn.Conv2d, inputs: ChannelMap | None = None, outputs: ChannelMap | None = None) -> nn.Conv2d:
    """Copy a convolution with its channels moved, each within its group.

    Args:
        conv: the convolution.
        inputs: where it reads its input channels; None for the stem and for depthwise convolutions, whose inputs follow
            their outputs.
        outputs: where it writes its output channels.
    """
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    groups = conv.groups
    if inputs:
        width = inputs.width // groups
        index = torch.tensor(inputs.index, device=weight.device) % width
        index = index.view(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        wider = weight.new_zeros(len(weight), width, *weight.shape[2:])
        weight = wider.scatter(1, index[..., None, None].expand_as(weight), weight)
    elif groups > 1:
        groups = outputs.width
    index = torch.tensor(outputs.index, device=weight.device)
    weight = weight.new_zeros(outputs.width, *weight.shape[1:]).index_copy(0, index, weight)
    bias = bias.new_zeros(outputs.width).index_copy(0, index, bias)
    moved = nn.Conv2d(
        weight.shape[1] * groups, len(weight), conv.kernel_size, conv.stride, conv.padding, groups=groups, device='meta'
    )
    moved.weight, moved.bias = nn.Parameter(weight), nn.Parameter(bias)
    return moved
