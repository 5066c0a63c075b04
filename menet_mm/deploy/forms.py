"""Inference forms of models: the same function, arranged so that one runtime does less work for it.

What each pass gains is measured with ``python -m benchmarks --passes``.
"""

import copy
import platform
from collections.abc import Callable, Iterable
from difflib import get_close_matches

import torch
from torch import nn

from menet_mm.errors import InputError

from .passes import layers, layout
from .passes.rearrange import rearrange

#: Numbers of channels that ONNX Runtime's blocked layout keeps together: 8 on an x86 processor, 16 on one with AVX-512 and
#: on ARM (MlasNchwcGetBlockSize).
BLOCKS = (8, 16)
#: Passes that change a network's channel layout, in their order. Without ``fold_norms`` they have no effect.
LAYOUT_PASSES = (
    *(layout.pad_stem, layout.pad_sums, layout.pad_bottleneck, layout.pad_groups, layout.pad_side_path),
    *(layout.move_shuffle, layout.absorb_shuffle, layout.average_as_convolution),
    *(layout.activation_before_concat, layout.block_sums),
)
_ONNX_PASSES = (layers.transposed_linear, layers.global_average, *LAYOUT_PASSES)
_PASSES = dict(torch=(layers.channels_last,), onnxruntime=_ONNX_PASSES, openvino=(), ncnn=())
#: The passes of each target by name, in their order. Each keeps the function of a model, and changes it in place.
PASSES: dict[str, dict[str, Callable[..., None]]] = {
    target: {each.__name__: each for each in (layers.fold_norms, *others)} for target, others in _PASSES.items()
}
TARGETS = tuple(PASSES)


def to_deploy(model: nn.Module, target: str = 'torch', block: int | None = None, skip: Iterable[str] = ()) -> nn.Module:
    """Make the inference form of a model for a runtime: a copy in eval mode, which computes the same up to rounding.

    It has the same interface, but cannot be trained, and its tensors have other names and shapes than a checkpoint's.
    InputError if the target, the block or a pass is unknown, or convolutions standardize their weights.

    Args:
        model: a classifier of MMPretrain, a detector of MMDetection (SSD or Faster R-CNN), or a backbone alone.
        target: one of :data:`TARGETS`.
        block: for ``onnxruntime``, the one of :data:`BLOCKS` for the processor that will run it; this machine's by default.
        skip: names in ``PASSES[target]`` of passes to leave out. Like the block, it changes the speed alone.
    """
    if target not in TARGETS:
        raise InputError(f"unknown target '{target}': choose one of {', '.join(TARGETS)}")
    if block not in (None, *BLOCKS):
        raise InputError(f'unknown block {block}: choose one of {", ".join(map(str, BLOCKS))}')
    passes, skip = PASSES[target], {skip} if isinstance(skip, str) else set(skip)
    for name in sorted(skip - passes.keys()):
        near = get_close_matches(name, passes, n=1, cutoff=0)[0]
        raise InputError(f"unknown pass '{name}': did you mean '{near}'? {target} has {', '.join(passes)}")
    if 'pad_groups' in skip:
        skip.add('pad_sums')  # which pays only where groups are padded
    if block is None:
        x86 = platform.machine().lower() in ('x86_64', 'amd64')
        block = 8 if x86 and torch.backends.cpu.get_cpu_capability() != 'AVX512' else 16
    form = copy.deepcopy(model).eval()
    chosen = [each for name, each in passes.items() if name not in skip]
    for each in chosen:
        if each not in LAYOUT_PASSES:
            each(form)
    if changes := [each for each in chosen if each in LAYOUT_PASSES]:
        rearrange(form, block, changes)
    return form.requires_grad_(False)
