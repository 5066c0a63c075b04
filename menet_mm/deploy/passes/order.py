"""Passes that change where a unit shuffles, activates and averages, and what is blocked between units."""

from __future__ import annotations

from .layout import NetworkLayout


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
        unit.average_as_convolution = unit.pooled is not None and unit.entering.width % layout.block != 0


def activation_before_concat(layout: NetworkLayout) -> None:
    """Put the ReLU into the expanding convolution; the pooled input needs none, as averages of a ReLU are not negative."""
    for unit in layout.units:
        unit.activation_before_concat = unit.pooled is not None and unit.relu


def block_sums(layout: NetworkLayout) -> None:
    """Bring a stage's first result into the blocked layout, which the sums behind it then keep."""
    for first, *others in layout.stages:
        first.to_blocks = bool(others) and others[0].expands_blocked and not first.expands_blocked
