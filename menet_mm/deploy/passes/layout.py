"""The channel layout of a MENet or ShuffleNet: where each channel lies in each tensor. Plain numbers, no torch.

A layout starts as the network was trained; the passes of :mod:`.padding`, :mod:`.shuffle` and :mod:`.downsampling` change it,
and :mod:`.rearrange` carries it out. Whatever they choose, the function stays the same: padding meets zero weights alone.

Letters: b is the width of a unit's bottleneck, g its groups, k the width of its side path. A *block* is the number of channels
that ONNX Runtime's fast kernels keep together (:data:`menet_mm.deploy.forms.BLOCKS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True)
class ChannelMap:
    """The position of each channel in a tensor. Positions without a channel are padding."""

    index: tuple[int, ...]
    width: int

    @classmethod
    def spaced(cls, channels: int, multiple: int = 1, groups: int = 1) -> ChannelMap:
        """Channels in their order, each group padded at its end to a multiple."""
        size = channels // groups
        padded = round_up(size, multiple)
        return cls(tuple(i * padded + j for i in range(groups) for j in range(size)), groups * padded)

    @property
    def padded(self) -> bool:
        """Whether there is padding."""
        return self.width > len(self.index)

    def dense(self) -> ChannelMap:
        """The channels in their order, without padding."""
        return ChannelMap.spaced(len(self.index))

    def select(self, channels: Sequence[int]) -> ChannelMap:
        """The map of these channels, where they are."""
        return ChannelMap(tuple(self.index[channel] for channel in channels), self.width)

    def group_of(self, groups: int) -> list[int]:
        """The group of each channel if the tensor is cut into equal parts."""
        return [position // (self.width // groups) for position in self.index]

    def gather(self, target: ChannelMap) -> list[int] | None:
        """The position to read for each position of the target; None if both maps are the same."""
        if self == target:
            return None
        # Zero weights read the padding, so any channel does.
        order = [self.index[0]] * target.width
        for read, written in zip(self.index, target.index, strict=True):
            order[written] = read
        return order

    def __add__(self, other: ChannelMap) -> ChannelMap:
        """The map of two tensors that are concatenated."""
        return ChannelMap(self.index + tuple(i + self.width for i in other.index), self.width + other.width)


@dataclass
class UnitLayout:
    """The layout of one unit. Passes change the fields from ``entering`` on."""

    block: int
    groups: int
    #: b.
    channels: int
    #: Whether the compressing convolution is dense, not grouped, as in the first unit of a network.
    compresses_densely: bool
    #: Whether the activation is a ReLU.
    relu: bool
    entering: ChannelMap
    #: What the expanding convolution writes.
    branch: ChannelMap
    #: What is concatenated behind the branch with stride 2: the pooled input. None with stride 1.
    pooled: ChannelMap | None
    #: The k channels inside the side path; None if there is none.
    side: ChannelMap | None
    #: Each group of the bottleneck is padded to a multiple of this.
    multiple: int = 1
    #: ``in front`` of the depthwise convolution and the side path, ``behind`` them, or ``absorbed`` by the first weights.
    shuffle: str = 'in front'
    average_as_convolution: bool = False
    activation_before_concat: bool = False
    #: Whether the result is brought into the blocked layout by an identity.
    to_blocks: bool = False

    @property
    def leaving(self) -> ChannelMap:
        """What the unit returns."""
        return self.branch if self.pooled is None else self.branch + self.pooled

    @property
    def shuffled(self) -> list[int]:
        """The channel that comes to each place in the shuffle, which moves channel i * b/g + j to j * g + i."""
        size = self.channels // self.groups
        return [i * size + j for j in range(size) for i in range(self.groups)]

    @property
    def bottleneck(self) -> ChannelMap:
        """b channels in groups, each padded."""
        return ChannelMap.spaced(self.channels, self.multiple, self.groups)

    @property
    def compressed(self) -> ChannelMap:
        """What the compressing convolution writes; channels are not shuffled yet."""
        if self.shuffle != 'absorbed':
            return self.bottleneck
        return self.bottleneck.select(sorted(range(self.channels), key=self.shuffled.__getitem__))

    @property
    def gated(self) -> ChannelMap:
        """What the depthwise convolution and the side path read and write; channels are shuffled."""
        return self.bottleneck.select(self.shuffled) if self.shuffle == 'behind' else self.bottleneck

    @property
    def expanded(self) -> ChannelMap:
        """What the expanding convolution reads; channels are shuffled."""
        # Behind the gate, the shuffle can drop padding that gains nothing further on.
        drops = self.shuffle == 'behind' and not self.expands_blocked
        return self.bottleneck.dense() if drops else self.bottleneck

    @property
    def compresses_blocked(self) -> bool:
        """Whether the input lets a grouped compressing convolution be blocked."""
        return not self.compresses_densely and self.entering.width // self.groups % self.block == 0

    @property
    def expands_blocked(self) -> bool:
        """Whether the expanding convolution is blocked."""
        return all(side.width // self.groups % self.block == 0 for side in (self.bottleneck, self.branch))


@dataclass
class NetworkLayout:
    """The layout of a network."""

    block: int
    stem: ChannelMap
    stages: list[list[UnitLayout]]
    #: Indices of stages whose maps are returned, and so lose their padding.
    returned: tuple[int, ...]

    @property
    def units(self) -> list[UnitLayout]:
        """All units in their order."""
        return [unit for stage in self.stages for unit in stage]


def round_up(width: int, multiple: int) -> int:
    """The next multiple."""
    return ceil(width / multiple) * multiple
