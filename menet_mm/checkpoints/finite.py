"""Values that are no numbers."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def find_nonfinite(content: object) -> list[str]:
    """Return the names of tensors with NaN or infinite values in nested dicts and lists, such as a checkpoint has."""
    return [name for name, tensor in _tensors(content) if tensor.is_floating_point() and not _is_finite(tensor)]


def _is_finite(tensor: torch.Tensor) -> bool:
    # A sum is several times faster than looking at each value, and finite only if all of them are.
    return bool(torch.isfinite(tensor.sum(dtype=torch.float64 if tensor.device.type == 'cpu' else None))) or bool(
        torch.isfinite(tensor).all()
    )


def _tensors(value: object, name: str = '') -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(item, f'{name}.{key}' if name else str(key))
