"""Putting the pictures of a batch together."""

from __future__ import annotations

from mmengine.dataset import default_collate as _default_collate

from menet_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def default_collate(samples: list[dict], _scope_: str | None = None) -> dict:
    """Stack tensors as mmengine's does, which refuses the ``_scope_`` that mmengine adds to a config read through ``::``."""
    return _default_collate(samples)
