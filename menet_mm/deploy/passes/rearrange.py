"""Carrying out a channel layout: the stem and the units of a MENet or ShuffleNet with their weights moved and padded."""

from collections.abc import Callable, Iterable
from itertools import pairwise

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
        stem = backbone.stem[0].conv
        _move_channels(stem, None, layout.units[0].entering)
        for stage, plans in zip(backbone.stages, layout.stages, strict=True):
            for i, plan in enumerate(plans):
                stage[i] = RearrangedUnit(stage[i], plan)
        for i in layout.returned:
            last = layout.stages[i][-1].leaving
            backbone.stages[i].append(Gather(last, last.dense(), stem.weight.device))


def read_layout(backbone: MENet, block: int) -> NetworkLayout:
    """The layout of a network as it was trained."""

    def read_unit(unit: MEModule) -> UnitLayout:
        compress, expand = unit.compress.conv, unit.expand.conv
        kind = dict(compresses_densely=compress.groups == 1, pools=bool(unit.pool), relu=isinstance(unit.act, nn.ReLU))
        maps = dict(entering=ChannelMap.spaced(compress.in_channels), branch=ChannelMap.spaced(expand.out_channels))
        side = None if unit.side is None else ChannelMap.spaced(_layers(unit.side)[0].conv.out_channels)
        return UnitLayout(block, unit.groups, compress.out_channels, **kind, **maps, side=side)

    return NetworkLayout([list(map(read_unit, stage)) for stage in backbone.stages], backbone.out_indices)


def _is_known(backbone: MENet) -> bool:
    # No subclass: it may do more with the channels, which move.
    sides, folded = (MergingEvolution, SqueezeExcitation, type(None)), (nn.Identity, type(None))
    units = [unit for stage in backbone.stages for unit in stage]
    if any(type(unit) is not MEModule or type(unit.side) not in sides for unit in units):
        return False
    return all(type(layer.conv) is nn.Conv2d and isinstance(layer.norm, folded) for layer in _layers(backbone))


def _layers(module: nn.Module) -> list[ConvModule]:
    return [layer for layer in module.modules() if isinstance(layer, ConvModule)]


class RearrangedUnit(nn.Module):
    """An ME module, or ShuffleNet's unit, with the layers of ``unit`` in a given layout; its norm layers are folded."""

    def __init__(self, unit: MEModule, layout: UnitLayout) -> None:
        super().__init__()
        weight = unit.depthwise.conv.weight
        self.compress, self.depthwise, self.side, self.expand = unit.compress, unit.depthwise, unit.side, unit.expand
        self.pool, self.act = unit.pool, unit.act
        self.shuffle_in_front = Gather(layout.compressed.select(layout.shuffled), layout.gated, weight.device)
        self.shuffle_behind = Gather(layout.gated, layout.expanded, weight.device)
        _move_channels(self.compress.conv, layout.entering, layout.compressed)
        _move_channels(self.depthwise.conv, None, layout.gated)
        _move_channels(self.expand.conv, layout.expanded, layout.branch)
        if self.side is not None:
            layers = _layers(self.side)
            maps = [layout.gated, *[layout.side] * (len(layers) - 1), layout.gated]
            for layer, (inputs, outputs) in zip(layers, pairwise(maps), strict=True):
                _move_channels(layer.conv, inputs, outputs)
        if layout.activation_before_concat:
            self.expand, self.act = nn.Sequential(unit.expand, unit.act), nn.Identity()
        if layout.average_as_convolution:
            width = layout.entering.width
            self.pool = nn.Conv2d(width, width, 3, stride=2, padding=1, groups=width, bias=False, device='meta')
            self.pool.weight = nn.Parameter(weight.new_full((width, 1, 3, 3), 1 / 9))
        if layout.pools:
            self.pool = nn.Sequential(self.pool, Gather(layout.entering, layout.entering.dense(), weight.device))
        if layout.to_blocks:
            self.act = nn.Sequential(self.act, nn.MaxPool2d(1))  # an identity that has a blocked kernel

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W'), as :meth:`MEModule.forward`, with padding."""
        y = self.shuffle_in_front(self.compress(x))
        d = self.depthwise(y)
        z = self.expand(self.shuffle_behind(d if self.side is None else self.side.fuse(d, y)))
        return self.act(z + x if self.pool is None else torch.cat((z, self.pool(x)), dim=1))


class Gather(nn.Module):
    """Brings channels from one map to another, (N, source.width, H, W) -> (N, target.width, H, W)."""

    def __init__(self, source: ChannelMap, target: ChannelMap, device: torch.device) -> None:
        super().__init__()
        order = None if source == target else torch.tensor(source.gather(target), device=device)
        self.register_buffer('order', order)

    def forward(self, x: Tensor) -> Tensor:
        # Not by index: torch's exporter would write GatherND between two Transposes instead of Gather.
        return x if self.order is None else x.index_select(1, self.order)


def _move_channels(conv: nn.Conv2d, inputs: ChannelMap | None, outputs: ChannelMap) -> None:
    """Let a convolution read and write its channels elsewhere; ``inputs`` is None for the stem and if it is depthwise."""
    weight, index = conv.weight.detach(), torch.tensor(outputs.index, device=conv.weight.device)
    if inputs is not None:
        width = inputs.width // conv.groups
        reads = (torch.tensor(inputs.index, device=weight.device) % width).view(conv.groups, -1)
        reads = reads.repeat_interleave(len(weight) // conv.groups, dim=0)[..., None, None].expand_as(weight)
        weight = weight.new_zeros(len(weight), width, *weight.shape[2:]).scatter(1, reads, weight)
    elif conv.groups > 1:
        conv.groups = outputs.width
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    for name, old in (('weight', weight), ('bias', bias)):
        new = old.new_zeros(outputs.width, *old.shape[1:]).index_copy(0, index, old)
        setattr(conv, name, nn.Parameter(new))
    conv.out_channels, conv.in_channels = outputs.width, weight.shape[1] * conv.groups
