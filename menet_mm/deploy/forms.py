"""Inference forms of models: the same function, arranged so that one runtime does less work for it.

What each pass gains is measured with ``python -m benchmarks --passes``.
"""

from __future__ import annotations

import copy
import platform
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple

import torch
from torch import nn

from menet_mm.errors import InputError

from .passes import layers, order, padding
from .passes.rearrange import rearrange

#: Numbers of channels that ONNX Runtime's blocked layout keeps together: 8 on an x86 processor, 16 on one with AVX-512 and
#: on ARM (MlasNchwcGetBlockSize).
BLOCKS = (8, 16)


class Pass(NamedTuple):
    """A named rewrite, which keeps the function of a model."""

    name: str
    function: Callable[..., None]  # changes a model, or a network's layout, in place
    summary: str
    changes_layout: bool = False
    needs: str = ''  # a pass without which this one is skipped, too


def _table(*functions: Callable, **settings: object) -> dict[str, Pass]:
    return {f.__name__: Pass(f.__name__, f, (f.__doc__ or '').partition('\n')[0], **settings) for f in functions}


_FOLD = _table(layers.fold_norms)
#: The passes of each target by name, in the order in which they run. Without ``fold_norms``, no layout changes.
PASSES: dict[str, dict[str, Pass]] = {
    'torch': {**_FOLD, **_table(layers.channels_last)},
    'onnxruntime': {
        **_FOLD,
        **_table(layers.transposed_linear, layers.global_average),
        **_table(padding.pad_stem, changes_layout=True),
        **_table(padding.pad_sums, changes_layout=True, needs='pad_groups'),
        **_table(padding.pad_bottleneck, padding.pad_groups, padding.pad_side_path, changes_layout=True),
        **_table(order.move_shuffle, order.absorb_shuffle, order.average_as_convolution, changes_layout=True),
        **_table(order.activation_before_concat, order.block_sums, changes_layout=True),
    },
    'openvino': _FOLD,
    'ncnn': _FOLD,
}
#: Runtimes that have an inference form.
TARGETS = tuple(PASSES)


def native_block() -> int:
    """The one of :data:`BLOCKS` that ONNX Runtime uses on this machine."""
    plain = platform.machine().lower() in ('x86_64', 'amd64') and torch.backends.cpu.get_cpu_capability() != 'AVX512'
    return 8 if plain else 16


def to_deploy(model: nn.Module, target: str = 'torch', block: int | None = None, skip: Iterable[str] = ()) -> nn.Module:
    """Make the inference form of a model for a runtime. The model itself stays as it is.

    Args:
        model: a classifier of MMPretrain, a detector of MMDetection (SSD or Faster R-CNN), or a backbone alone.
        target: one of :data:`TARGETS`.
        block: for ``onnxruntime``, the one of :data:`BLOCKS` for the processor that will run it; this machine's by default.
            It changes the speed alone.
        skip: names in ``PASSES[target]`` of passes to leave out. It changes the speed alone.

    Returns:
        A copy in eval mode, with the same interface, that computes the same up to the rounding of 32-bit numbers. It cannot
        be trained, and its tensors have other names and shapes than a checkpoint's.

    Raises:
        InputError: if the target, the block or a pass is unknown, or the model has convolutions that standardize their
            weights.

    Example:
        >>> import torch
        >>> from menet_mm import MENet
        >>> from menet_mm.deploy import to_deploy
        >>> model, image = MENet('108-8x1-g3').eval(), torch.rand(1, 3, 64, 64)
        >>> torch.allclose(to_deploy(model, 'onnxruntime')(image)[0], model(image)[0], atol=1e-4)
        True
    """
    if target not in TARGETS:
        raise InputError(f"unknown target '{target}': choose one of {', '.join(TARGETS)}")
    if block not in (None, *BLOCKS):
        raise InputError(f'unknown block {block}: choose one of {", ".join(map(str, BLOCKS))}')
    passes, skip = PASSES[target], {skip} if isinstance(skip, str) else set(skip)
    for name in sorted(skip - passes.keys()):
        near = get_close_matches(name, passes, n=1, cutoff=0)[0]
        raise InputError(f"unknown pass '{name}': did you mean '{near}'? {target} has {', '.join(passes)}")
    model = copy.deepcopy(model).eval()
    chosen = [each for each in passes.values() if not skip & {each.name, each.needs}]
    for each in chosen:
        if not each.changes_layout:
            each.function(model)
    if changes := [each.function for each in chosen if each.changes_layout]:
        rearrange(model, block or native_block(), changes)
    return model.requires_grad_(False)
