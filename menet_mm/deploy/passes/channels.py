"""Passes that change the channel layout of a MENet or ShuffleNet, so that ONNX Runtime can block more of its layers."""

from math import gcd

from .layout import ChannelMap, NetworkLayout

#: Depthwise convolutions are blocked if their width is a multiple of this, most other layers if it is one of the block
#: (onnxruntime/core/optimizer/nchwc_transformer.cc).
DEPTHWISE_BLOCK = 4
#: Grouped convolutions are padded if that adds no more than this factor of work, by block. Measured.
MAX_WIDENING = {8: 1.34, 16: 1.12}


def pad_stem(layout: NetworkLayout) -> None:
    """Pad the stem, so that the pooling behind it, of the largest maps, is blocked."""
    first = layout.units[0]
    first.entering = ChannelMap.spaced(len(first.entering.index), first.block)


def pad_sums(layout: NetworkLayout) -> None:
    """Pad the sums of a stage, so that all of its grouped convolutions are blocked."""
    for i, (first, *others) in enumerate(layout.stages):
        if first.entering != first.entering.dense():
            continue  # carrying padding on to the next stage costs more than dropping it where maps are halved
        block, groups, size = first.block, first.groups, first.channels // first.groups
        branch = ChannelMap.spaced(len(first.branch.index), block, groups)
        joined = branch + first.entering
        channels = len(joined.index)
        pays = ChannelMap.spaced(size, block).width * joined.width <= MAX_WIDENING[block] * size * channels
        fits = joined.width % (groups * block) == first.entering.width % block == 0
        # The next unit's groups must hold the same channels as without padding.
        keeps = all(at * groups // joined.width == j * groups // channels for j, at in enumerate(joined.index))
        if pays and fits and keeps:
            first.branch = branch
            for unit in others:
                unit.entering = unit.branch = joined
            if i + 1 < len(layout.stages) and i not in layout.returned:
                layout.stages[i + 1][0].entering = joined


def pad_bottleneck(layout: NetworkLayout) -> None:
    """Pad the bottleneck, so that the depthwise convolution is blocked: all groups together, not each."""
    for unit in layout.units:
        unit.multiple = DEPTHWISE_BLOCK // gcd(unit.groups, DEPTHWISE_BLOCK)


def pad_groups(layout: NetworkLayout) -> None:
    """Pad each group of the bottleneck to whole blocks, so that grouped convolutions are blocked."""
    for unit in layout.units:
        size = unit.channels // unit.groups
        pays = ChannelMap.spaced(size, unit.block).width <= MAX_WIDENING[unit.block] * size
        neighbours = [unit.branch] if unit.compresses_densely else [unit.branch, unit.entering]
        if pays and any(tensor.width // unit.groups % unit.block == 0 for tensor in neighbours):
            unit.multiple = unit.block


def pad_side_path(layout: NetworkLayout) -> None:
    """Pad the side path from k channels to whole blocks."""
    for unit in layout.units:
        if unit.side is not None:
            unit.side = ChannelMap.spaced(len(unit.side.index), unit.block)


def move_shuffle(layout: NetworkLayout) -> None:
    """Shuffle behind the gate, where padding can be dropped at once; the weights in between are permuted instead."""
    for unit in layout.units:
        unit.shuffle = 'behind'


def absorb_shuffle(layout: NetworkLayout) -> None:
    """Let a compressing convolution without groups write its channels shuffled."""
    for unit in layout.units:
        if unit.compresses_densely:
            unit.shuffle = 'absorbed'


def average_as_convolution(layout: NetworkLayout) -> None:
    """Write the 3x3 average as a depthwise convolution, unless whole blocks let the pooling itself be blocked."""
    for unit in layout.units:
        unit.average_as_convolution = unit.pools and unit.entering.width % unit.block != 0


def activation_before_concat(layout: NetworkLayout) -> None:
    """Put the ReLU into the expanding convolution; the pooled input needs none, as averages of a ReLU are not negative."""
    for unit in layout.units:
        unit.activation_before_concat = unit.pools and unit.relu


def block_sums(layout: NetworkLayout) -> None:
    """Bring a stage's first result into the blocked layout, which the sums behind it then keep."""
    for first, *others in layout.stages:
        first.to_blocks = bool(others) and others[0].expands_blocked and not first.expands_blocked
