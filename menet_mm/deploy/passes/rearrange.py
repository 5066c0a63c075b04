"""Carrying out a channel layout: the stem and the units of a MENet or ShuffleNet with their weights moved and padded."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn

from menet_mm.models import MEModule, MENet, MergingEvolution, SqueezeExcitation

from .layout import ChannelMap, NetworkLayout, UnitLayout


def rearrange(model: nn.Module, block: int, passes: Iterable[Callable[[NetworkLayout], None]]) -> None:
    """Rearrange every MENet and ShuffleNet in a model, in place. Those with norm layers, or any not known here, stay."""
    for backbone in [module for module in model.modules() if isinstance(module, MENet) and _is_known(module)]:
        layout = read_layout(backbone, block)
        for change in passes:
            change(layout)
        _carry_out(backbone, layout)


def read_layout(backbone: MENet, block: int) -> NetworkLayout:
    """The layout of a network as it was trained."""

    def read_unit(unit: MEModule) -> UnitLayout:
        compress, entering = unit.compress.conv, ChannelMap.spaced(unit.compress.conv.in_channels)
        return UnitLayout(
            block=block,
            groups=unit.groups,
            channels=compress.out_channels,
            compresses_densely=compress.groups == 1,
            relu=isinstance(unit.act, nn.ReLU),
            entering=entering,
            branch=ChannelMap.spaced(unit.expand.conv.out_channels),
            pooled=None if unit.pool is None else entering,
            side=None if unit.side is None else ChannelMap.spaced(_layers(unit.side)[0].conv.out_channels),
        )

    stem = ChannelMap.spaced(backbone.stem[0].conv.out_channels)
    return NetworkLayout(block, stem, [list(map(read_unit, stage)) for stage in backbone.stages], backbone.out_indices)


def _is_known(backbone: MENet) -> bool:
    units = [unit for stage in backbone.stages for unit in stage]
    # No subclass: it may do more with the channels, which move.
    return all(
        type(unit) is MEModule and type(unit.side) in (MergingEvolution, SqueezeExcitation, type(None))
        for unit in units
    ) and all(
        type(layer.conv) is nn.Conv2d and isinstance(layer.norm, (nn.Identity, type(None)))
        for layer in _layers(backbone)
    )


def _layers(module: nn.Module) -> list[ConvModule]:
    return [layer for layer in module.modules() if isinstance(layer, ConvModule)]


def _carry_out(backbone: MENet, layout: NetworkLayout) -> None:
    backbone.stem[0].conv = move_channels(backbone.stem[0].conv, None, layout.stem)
    for i, (stage, plans) in enumerate(zip(backbone.stages, layout.stages, strict=True)):
        for j, plan in enumerate(plans):
            unit = RearrangedUnit(stage[j], plan)
            # A pooling of one pixel is an identity that has a blocked kernel.
            stage[j] = nn.Sequential(unit, nn.MaxPool2d(1)) if plan.to_blocks else unit
        leaving = plans[-1].leaving
        if i in layout.returned and leaving != leaving.dense():
            stage.append(Gather(leaving, leaving.dense(), backbone.stem[0].conv.weight.device))


class RearrangedUnit(nn.Module):
    """An ME module, or ShuffleNet's unit, in a given layout; its norm layers must be folded already."""

    def __init__(self, unit: MEModule, layout: UnitLayout) -> None:
        super().__init__()
        weight = unit.compress.conv.weight
        self.compress = move_channels(unit.compress.conv, layout.entering, layout.compressed)
        # Not the unit's other activation: a PReLU learns.
        self.compress_act = unit.compress.activate
        self.shuffle_in_front = Gather(layout.compressed.select(layout.shuffled), layout.gated, weight.device)
        self.depthwise = move_channels(unit.depthwise.conv, None, layout.gated)
        self.side = None
        if unit.side is not None:
            self.side = copy.deepcopy(unit.side)
            first, *between, last = _layers(self.side)
            first.conv = move_channels(first.conv, layout.gated, layout.side)
            for layer in between:
                layer.conv = move_channels(layer.conv, layout.side, layout.side)
            last.conv = move_channels(last.conv, layout.side, layout.gated)
        self.shuffle_behind = Gather(layout.gated, layout.expanded, weight.device)
        self.expand = move_channels(unit.expand.conv, layout.expanded, layout.branch)
        self.pool = None
        if layout.pooled is not None:
            pool = nn.AvgPool2d(3, stride=2, padding=1)
            if layout.average_as_convolution:
                width = layout.entering.width
                pool = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False, device='meta')
                pool.weight = nn.Parameter(weight.new_full((width, 1, 3, 3), 1 / 9))
            self.pool = nn.Sequential(pool, Gather(layout.entering, layout.pooled, weight.device))
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
    """Brings channels from one map to another; an identity if both are the same."""

    def __init__(self, source: ChannelMap, target: ChannelMap, device: torch.device) -> None:
        super().__init__()
        order = None if source == target else torch.tensor(source.gather(target), device=device)
        self.register_buffer('order', order)

    def forward(self, x: Tensor) -> Tensor:
        """(N, source.width, H, W) -> (N, target.width, H, W)."""
        # Not by index: torch's exporter would write GatherND between two Transposes instead of Gather.
        return x if self.order is None else x.index_select(1, self.order)


def move_channels(conv: nn.Conv2d, inputs: ChannelMap | None, outputs: ChannelMap) -> nn.Conv2d:
    """Copy a convolution that reads and writes its channels elsewhere, but in the same groups.

    ``inputs`` of None is for the stem, whose inputs stay, and for depthwise convolutions, whose inputs lie as their outputs.
    """
    weight = conv.weight.detach()
    groups = conv.groups
    if inputs is not None:
        width = inputs.width // groups
        index = torch.tensor(inputs.index, device=weight.device) % width
        index = index.view(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        wider = weight.new_zeros(len(weight), width, *weight.shape[2:])
        weight = wider.scatter(1, index[..., None, None].expand_as(weight), weight)
    elif groups > 1:
        groups = outputs.width
    index = torch.tensor(outputs.index, device=weight.device)
    moved = nn.Conv2d(
        weight.shape[1] * groups,
        outputs.width,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        groups=groups,
        device='meta',
    )
    moved.weight = nn.Parameter(weight.new_zeros(outputs.width, *weight.shape[1:]).index_copy(0, index, weight))
    bias = weight.new_zeros(outputs.width)
    moved.bias = nn.Parameter(bias if conv.bias is None else bias.index_copy(0, index, conv.bias.detach()))
    return moved
