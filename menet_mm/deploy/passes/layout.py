"""The channel layout of a MENet or ShuffleNet: where each channel lies in each tensor. Plain numbers, no torch.

A layout starts as the network was trained. The passes in :mod:`.channels` change it, and :mod:`.rearrange` carries it out. The
function stays the same, as padding meets zero weights alone.

Letters: b is the width of a unit's bottleneck, g its groups, k the width of its side path. A *block* is one of
:data:`menet_mm.deploy.forms.BLOCKS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self


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
    #: In front of the depthwise convolution and the side path, behind them, or in the weights of the first convolution.
    shuffle: Literal['in front', 'behind', 'absorbed'] = 'in front'
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
