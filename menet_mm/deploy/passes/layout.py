"""The channel layout of a MENet or ShuffleNet: where each channel lies in each tensor. Plain numbers, no torch.

A layout starts as the network was trained. The passes change it, so that ONNX Runtime can block more layers, and
:mod:`.rearrange` carries it out. The function stays the same, as padding meets zero weights alone.

Letters are those of :mod:`menet_mm.models.me_module`; a *block* is one of :data:`menet_mm.deploy.forms.BLOCKS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Literal, Self

#: Depthwise convolutions are blocked if their width is a multiple of this, most other layers if it is one of the block
#: (onnxruntime/core/optimizer/nchwc_transformer.cc).
DEPTHWISE_BLOCK = 4
MAX_WIDENING = {8: 1.34, 16: 1.12}  # how much more work padding of grouped convolutions may make, by block; measured


@dataclass(frozen=True)
class ChannelMap:
    """The position of each channel in a tensor of some width. Positions without a channel are padding."""

    index: tuple[int, ...]
    width: int

    @classmethod
    def spaced(cls, channels: int, multiple: int = 1, groups: int = 1) -> Self:
        """Channels in their order, each group padded at its end to a multiple."""
        size = channels // groups
        padded = -(-size // multiple) * multiple
        return cls(tuple(i * padded + j for i in range(groups) for j in range(size)), groups * padded)

    def dense(self) -> Self:
        """The channels in their order, without padding."""
        return self.spaced(len(self.index))

    def select(self, channels: Sequence[int]) -> Self:
        """These channels, in this order, where they are."""
        return ChannelMap(tuple(self.index[channel] for channel in channels), self.width)

    def gather(self, target: Self) -> list[int]:
        """The position to read for each position of the target. Its padding, which meets zero weights, reads any."""
        read = dict(zip(target.index, self.index, strict=True))
        return [read.get(position, self.index[0]) for position in range(target.width)]

    def __add__(self, other: Self) -> Self:
        """The map of two tensors that are concatenated."""
        return ChannelMap(self.index + tuple(i + self.width for i in other.index), self.width + other.width)


@dataclass
class UnitLayout:
    """The layout of one unit. Passes change the fields from ``entering`` on."""

    block: int
    groups: int
    channels: int  # b
    compresses_densely: bool  # whether the compressing convolution has no groups, as in the first unit of a network
    pools: bool  # whether the pooled input is concatenated behind the branch, without padding, as with stride 2
    relu: bool  # whether the activation is a ReLU
    entering: ChannelMap
    branch: ChannelMap  # what the expanding convolution writes
    side: ChannelMap | None  # the k channels inside the side path; None if there is none
    multiple: int = 1  # to which each group of the bottleneck is padded
    shuffle: Literal['in front', 'behind', 'absorbed'] = 'in front'  # of the gate, or in the compressing weights
    average_as_convolution: bool = False
    activation_before_concat: bool = False
    to_blocks: bool = False  # whether an identity brings the result into the blocked layout

    @property
    def leaving(self) -> ChannelMap:
        """What the unit returns."""
        return self.branch + self.entering.dense() if self.pools else self.branch

    @property
    def shuffled(self) -> list[int]:
        """Channels in shuffled order: i * b/g + j moves to j * g + i."""
        size = self.channels // self.groups
        return [channel for start in range(size) for channel in range(start, self.channels, size)]

    @property
    def bottleneck(self) -> ChannelMap:
        """b channels, each group padded."""
        return ChannelMap.spaced(self.channels, self.multiple, self.groups)

    @property
    def compressed(self) -> ChannelMap:
        """What the compressing convolution writes. Channels count as before the shuffle."""
        places = sorted(range(self.channels), key=self.shuffled.__getitem__)
        return self.bottleneck.select(places) if self.shuffle == 'absorbed' else self.bottleneck

    @property
    def gated(self) -> ChannelMap:
        """What the depthwise convolution and the side path read and write. Channels count as behind the shuffle."""
        return self.bottleneck.select(self.shuffled) if self.shuffle == 'behind' else self.bottleneck

    @property
    def expanded(self) -> ChannelMap:
        """What the expanding convolution reads. A shuffle in front of it drops padding that does not help it."""
        drops = self.shuffle == 'behind' and not self.expands_blocked
        return self.bottleneck.dense() if drops else self.bottleneck

    @property
    def expands_blocked(self) -> bool:
        """Whether the expanding convolution is blocked."""
        return all(tensor.width // self.groups % self.block == 0 for tensor in (self.bottleneck, self.branch))


@dataclass
class NetworkLayout:
    """The layout of a network; maps of the stages ``returned`` lose their padding."""

    stages: list[list[UnitLayout]]
    returned: tuple[int, ...]

    @property
    def units(self) -> list[UnitLayout]:
        """All units in their order."""
        return [unit for stage in self.stages for unit in stage]


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
