"""Passes that pad channels with zeros, so that layers fit ONNX Runtime's blocked layout."""

from __future__ import annotations

from math import gcd

from .layout import ChannelMap, NetworkLayout

#: Depthwise convolutions are blocked if their width is a multiple of this, most other layers if it is one of the block
#: (onnxruntime/core/optimizer/nchwc_transformer.cc).
DEPTHWISE_BLOCK = 4
#: Grouped convolutions are padded if that adds no more than this factor of work, by block. Measured.
MAX_WIDENING = {8: 1.34, 16: 1.12}


def pad_stem(layout: NetworkLayout) -> None:
    """Pad the stem, so that the pooling behind it, of the largest maps, is blocked."""
    layout.stem = layout.stages[0][0].entering = ChannelMap.spaced(len(layout.stem.index), layout.block)


def pad_sums(layout: NetworkLayout) -> None:
    """Pad the sums of a stage, so that all of its grouped convolutions are blocked."""
    block = layout.block
    for i, (first, *others) in enumerate(layout.stages):
        if first.entering != first.entering.dense():
            continue  # carrying padding on to the next stage costs more than dropping it where maps are halved
        groups, size = first.groups, first.channels // first.groups
        branch = ChannelMap.spaced(len(first.branch.index), block, groups)
        joined = branch + first.entering
        channels = len(joined.index)
        pays = ChannelMap.spaced(size, block).width * joined.width <= MAX_WIDENING[block] * size * channels
        fits = joined.width % (groups * block) == first.entering.width % block == 0
        # The next unit's groups must hold the same channels as without padding.
        part, padded_part = channels // groups, joined.width // groups
        keeps = all(place // padded_part == channel // part for channel, place in enumerate(joined.index))
        if pays and fits and keeps:
            first.branch = branch
            for unit in others:
                unit.entering = unit.branch = joined
            if i + 1 < len(layout.stages) and i not in layout.returned:
                layout.stages[i + 1][0].entering = joined


def pad_bottleneck(layout: NetworkLayout) -> None:
    """Pad the bottleneck, so that the depthwise convolution is blocked."""
    for unit in layout.units:
        # All groups together must be a multiple, not each.
        unit.multiple = DEPTHWISE_BLOCK // gcd(unit.groups, DEPTHWISE_BLOCK)


def pad_groups(layout: NetworkLayout) -> None:
    """Pad each group of the bottleneck to whole blocks, so that grouped convolutions are blocked."""
    for unit in layout.units:
        size = unit.channels // unit.groups
        pays = ChannelMap.spaced(size, layout.block).width <= MAX_WIDENING[layout.block] * size
        neighbours = [unit.branch] if unit.compresses_densely else [unit.branch, unit.entering]
        if pays and any(tensor.width // unit.groups % layout.block == 0 for tensor in neighbours):
            unit.multiple = layout.block


def pad_side_path(layout: NetworkLayout) -> None:
    """Pad the side path from k channels to whole blocks."""
    for unit in layout.units:
        if unit.side is not None:
            unit.side = ChannelMap.spaced(len(unit.side.index), layout.block)
