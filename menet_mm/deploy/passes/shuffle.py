"""Passes that move the channel shuffle of a unit to where it costs less."""

from __future__ import annotations

from .layout import NetworkLayout


def move_shuffle(layout: NetworkLayout) -> None:
    """Shuffle behind the gate, where the padding can be dropped at once; the weights in between are permuted instead."""
    for unit in layout.units:
        unit.shuffle = 'behind'


def absorb_shuffle(layout: NetworkLayout) -> None:
    """Let a dense compressing convolution write its channels shuffled: grouped weights cannot."""
    for unit in layout.units:
        if unit.compresses_densely:
            unit.shuffle = 'absorbed'
