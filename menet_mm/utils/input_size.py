"""One setting for the size of an SSD's pictures: ``input_size``, with which its anchors grow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import log2
from typing import TYPE_CHECKING, Any

from menet_mm.errors import InputError

if TYPE_CHECKING:
    from mmengine.config import Config

SMALLEST = 32  # px: the first map of an SSD has a cell for every 16


def apply_input_size(cfg: Config, given: object = None) -> str | None:
    """Give the pictures of a config, and its anchors with them, the size that it asks for.

    Asked for is what ``--cfg-options`` gave, or ``input_size`` in a file that inherits the pipelines. Anchors whose strides
    are those of the new size, such as ``tools/fit_anchors.py`` prints, were made for it, and stay as they are.

    Args:
        cfg: changed where it stands: ``scale`` of each ``Resize``; strides and sizes of an SSD's anchors.
        given: the size in pixels, of both sides, if there is an option.

    Returns:
        What to tell the user, or None if nothing changed.

    Raises:
        InputError: if it is no size, or pictures or anchors cannot be scaled by one number.
    """
    steps = [step for step in _dicts(cfg._cfg_dict) if str(step.get('type')).split('.')[-1] == 'Resize']
    size = _set_in_files(cfg) if given is None else given
    if size is None:
        return None
    if type(size) is not int or size < SMALLEST:
        raise InputError(f'input_size must be a number of pixels from {SMALLEST} on, but is {size!r}')
    sizes = {_side(step) for step in steps}
    if sizes == {size}:
        return None
    if len(sizes) > 1 or None in sizes:
        raise InputError(
            f'input_size = {size} needs one square Resize in all pipelines, but the config has other ones: '
            'set the scale of each instead'
        )
    (before,) = sizes
    generator = ((cfg.get('model') or {}).get('bbox_head') or {}).get('anchor_generator') or {}
    kind = str(generator.get('type')).split('.')[-1]
    if kind not in ('SSDAnchorGenerator', 'YOLOAnchorGenerator'):
        raise InputError(f'input_size = {size} is for an SSD: set the scale of each Resize instead')
    for step in steps:
        step['scale'] = (size, size)
    strides = _strides(generator['strides'], size)
    if generator['strides'] == strides:
        return f'input_size = {size}: pictures are scaled from {before} px, the anchors are for {size} px already'
    for key in ('min_sizes', 'max_sizes', 'base_sizes'):
        if generator.get(key):
            generator[key] = _scaled(generator[key], size / before)
    generator['strides'] = strides
    return f'input_size = {size}: pictures and anchors are scaled from {before} px'


def _set_in_files(cfg: Config) -> int | None:
    """The size that a file of the config sets last, unless pipelines are written behind it, and so by hand.

    A file's bases stand before it in ``cfg.text``. A work dir's copy has its pipelines behind the size, too.
    """
    *_, behind = re.split(r'^input_size *=', cfg.text, flags=re.MULTILINE)
    size = cfg.get('input_size')
    by_hand = behind == cfg.text or re.search('Resize|scale', behind)
    return size if type(size) is int and not by_hand else None


def _dicts(node: Any) -> Iterator[dict]:
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _dicts(child)


def _side(step: dict) -> int | None:
    scale = step.get('scale')
    square = isinstance(scale, (list, tuple)) and len(set(scale)) == 1 and not step.get('keep_ratio')
    return scale[0] if square else None


def _scaled(node: Any, factor: float) -> Any:
    return (
        type(node)(_scaled(child, factor) for child in node)
        if isinstance(node, (list, tuple))
        else round(node * factor)
    )


def _strides(strides: list[int], size: int) -> list[int]:
    """Strides that spread the cells of each map over the picture; every map has half the cells of the one before."""
    cells = -(-size // 2 ** round(log2(strides[0])))
    found = []
    for _ in strides:
        found.append(round(size / cells))
        cells = -(-cells // 2)
    return found
