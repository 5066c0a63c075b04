"""Passes that pad channels with zeros, so that layers fit ONNX Runtime's blocked layout."""

from __future__ import annotations

from math import gcd

from .layout import ChannelMap, NetworkLayout, round_up

#: Depthwise convolutions are blocked if their width is a multiple of this, most other layers if it is one of the block
#: (onnxruntime/core/optimizer/nchwc_transformer.cc).
DEPTHWISE_BLOCK = 4
#: Grouped convolutions are padded if that adds no more than this factor of work, by block. Measured.
MAX_WIDENING = {8: 1.34, 16: 1.12}


def pad_stem(layout: NetworkLayout) -> None:
    """Pad the stem: else the pooling behind it, of the largest maps, is not blocked."""
    layout.stem = layout.stages[0][0].entering = ChannelMap.spaced(len(layout.stem.index), layout.block)


def pad_side_path(layout: NetworkLayout) -> None:
    """Pad the side path from k channels to whole blocks."""
    for unit in layout.units:
        if unit.side is not None:
            unit.side = ChannelMap.spaced(len(unit.side.index), layout.block)


def pad_bottleneck(layout: NetworkLayout) -> None:
    """Pad the bottleneck so that the depthwise convolution is blocked."""
    for unit in layout.units:
        # All groups together must be a multiple, not each.
        unit.multiple = DEPTHWISE_BLOCK // gcd(unit.groups, DEPTHWISE_BLOCK)


def pad_groups(layout: NetworkLayout) -> None:
    """Pad each group of the bottleneck to whole blocks, so that grouped convolutions are blocked."""
    for unit in layout.units:
        size = unit.channels // unit.groups
        pays = round_up(size, layout.block) <= MAX_WIDENING[layout.block] * size
        fits = unit.branch.width // unit.groups % layout.block == 0
        if pays and (fits or unit.compresses_blocked):
            unit.multiple = layout.block


def pad_sums(layout: NetworkLayout) -> None:
    """Pad the sums of a stage, so that all of its grouped convolutions are blocked."""
    block = layout.block
    for i, (first, *others) in enumerate(layout.stages):
        if first.pooled is None or first.entering.padded:
            continue  # carrying padding on to the next stage costs more than dropping it where maps are halved
        groups, entering = first.groups, first.entering
        branch = ChannelMap.spaced(len(first.branch.index), block, groups)
        joined = branch + entering
        size = first.channels // groups
        pays = round_up(size, block) * joined.width <= MAX_WIDENING[block] * size * len(joined.index)
        fits = joined.width % (groups * block) == entering.width % block == 0
        # The next unit's groups must hold the same channels as without padding.
        if not (joined.padded and pays and fits) or joined.group_of(groups) != joined.dense().group_of(groups):
            continue
        first.branch = branch
        for unit in others:
            unit.entering = unit.branch = joined
        if i + 1 < len(layout.stages) and i not in layout.returned:
            layout.stages[i + 1][0].entering = joined
