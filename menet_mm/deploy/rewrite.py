"""Inference forms of models: the same function, arranged so that one runtime does less work for it.

What was tried, what it gained and what did not pay is in docs/deployment.md.
"""

from __future__ import annotations

import copy
import platform
from math import ceil, gcd
from typing import NamedTuple

import torch
from mmcv.cnn import ConvAWS2d, ConvModule, ConvWS2d, fuse_conv_bn
from torch import Tensor, nn

from menet_mm.errors import InputError
from menet_mm.memory_format import guard_operators
from menet_mm.models import MEModule, MENet, MergingEvolution, SqueezeExcitation

#: Runtimes that have an inference form.
TARGETS = ('torch', 'onnxruntime', 'openvino', 'ncnn')

#: Numbers of channels that ONNX Runtime's blocked layout keeps together: 8 on an x86 processor, 16 on one with AVX-512 and
#: on ARM (MlasNchwcGetBlockSize). Most layers take this layout only where their widths are multiples, depthwise convolutions
#: where theirs is a multiple of :data:`DEPTHWISE_BLOCK` (onnxruntime/core/optimizer/nchwc_transformer.cc).
BLOCKS = (8, 16)
DEPTHWISE_BLOCK = 4
#: Grouped convolutions are widened for the blocked layout if that adds no more than this factor of work, by block.
MAX_WIDENING = {8: 1.34, 16: 1.12}


def native_block() -> int:
    """The one of :data:`BLOCKS` that ONNX Runtime uses on this machine."""
    plain = platform.machine().lower() in ('x86_64', 'amd64') and torch.backends.cpu.get_cpu_capability() != 'AVX512'
    return 8 if plain else 16


def to_deploy(model: nn.Module, target: str = 'torch', block: int | None = None) -> nn.Module:
    """Make the inference form of a model for a runtime. The model itself stays as it is.

    For every target, batch norm is folded into the convolutions. For ``torch`` the weights get the channels_last memory
    format. For ``onnxruntime`` the stem and the units of MENet and ShuffleNet are rearranged, see :class:`BlockedUnit`.

    Args:
        model: a classifier of MMPretrain, a detector of MMDetection (SSD or Faster R-CNN), or a backbone alone.
        target: one of :data:`TARGETS`.
        block: for ``onnxruntime``, the one of :data:`BLOCKS` for the processor that will run it; this machine's by default.
            It changes the speed alone.

    Returns:
        A copy in eval mode, with the same interface, that computes the same up to the rounding of 32-bit numbers. It cannot
        be trained, and its tensors have other names and shapes than a checkpoint's.

    Raises:
        InputError: if the target or the block is unknown, or the model has convolutions that standardize their weights.

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
    if any(isinstance(module, ConvWS2d | ConvAWS2d) for module in model.modules()):
        # mmcv would fold norm layers into weights that are standardized afterwards.
        raise InputError('no inference form of convolutions that standardize their weights: use conv_cfg=None')
    model = fuse_conv_bn(copy.deepcopy(model).eval()).requires_grad_(False)
    if target == 'torch':
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)
        guard_operators(model)
    if target == 'onnxruntime':
        for module in list(model.modules()):
            if isinstance(module, MENet) and _is_plain(module):
                with module.stem[0].conv.weight.device:
                    _rearrange(module, block or native_block())
            for name, child in module.named_children():
                # torch's attention reads the weights of its layers past their forward.
                if type(child) is nn.Linear and not type(module).__module__.startswith('torch.nn.modules.'):
                    setattr(module, name, TransposedLinear(child))
                elif isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                    setattr(module, name, GlobalAverage())
    return model


def _rearrange(backbone: MENet, block: int) -> None:
    """Rearrange a MENet or ShuffleNet for ONNX Runtime, in place."""
    stem = backbone.stem[0].conv
    width = stem.out_channels
    # Otherwise the pooling behind it, of the largest maps, needs the plain layout. A padded channel stays zero.
    backbone.stem[0].conv = _resized(stem, outputs=Place(torch.arange(width), _up(width, block)))
    for i, stage in enumerate(backbone.stages):
        for j, unit in enumerate(stage):
            stage[j] = BlockedUnit(unit, block, padded_input=i == j == 0)
        if len(stage) > 1 and stage[1].blocked:
            channels = stage[1].expand.out_channels
            # An identity that takes the blocked layout, which the residual sums of the stage then keep. Concat, in front of
            # it, keeps it only if all its parts are multiples of the block.
            identity = nn.Conv2d(channels, channels, 1, groups=channels, bias=False).to(stem.weight)
            nn.init.ones_(identity.weight)
            stage[0] = nn.Sequential(stage[0], identity)
    backbone.requires_grad_(False)


def _is_plain(backbone: MENet) -> bool:
    """Tell whether a backbone has no unit, side path, convolution or norm layer that is not known here."""
    units = [unit for stage in backbone.stages for unit in stage]
    sides = [unit.side for unit in units if type(unit) is MEModule and unit.side is not None]
    layers = [module for module in backbone.modules() if isinstance(module, ConvModule)]
    return (
        all(type(unit) is MEModule for unit in units)
        # Not a subclass, either: it may do more with the channels, whose places change.
        and all(type(side) in (MergingEvolution, SqueezeExcitation) for side in sides)
        and all(type(layer.conv) is nn.Conv2d and isinstance(layer.norm, nn.Identity | None) for layer in layers)
    )


class TransposedLinear(nn.Module):
    """A linear layer that keeps its weights transposed: ONNX Runtime takes 2 to 3 % less for the whole classifier.

    Args:
        linear: the layer.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().t().contiguous(), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in) -> (N, C_out)."""
        x = x @ self.weight
        return x if self.bias is None else x + self.bias


class GlobalAverage(nn.Module):
    """The average of each channel, as a pooling, which has a blocked kernel; torch's exporter would write ReduceMean."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, 1, 1)."""
        return nn.functional.avg_pool2d(x, x.shape[-2:])


class Place(NamedTuple):
    """Where channels go in a wider tensor, whose other channels are zero."""

    index: Tensor
    width: int


class BlockedUnit(nn.Module):
    """An ME module, or ShuffleNet's unit, arranged for ONNX Runtime's CPU kernels; its norm layers must be folded already.

    - The shuffle moves from before the depthwise convolution and the side path to behind the gate, as one Gather; the
      weights in between are permuted instead. There it costs no change of layout, because most of the grouped convolutions
      that follow take the plain layout anyway.
    - The bottleneck is padded with zeros so that the depthwise convolution, and where it costs little the grouped ones, take
      the blocked layout, and the side path to a whole block.
    - With stride 2, the average is a depthwise convolution, which may have any width of four, and the branches are joined
      behind the ReLU, which can then be part of the convolution: what was pooled from a ReLU needs no other.

    Args:
        unit: the unit.
        block: one of :data:`BLOCKS`.
        padded_input: channels of zeros follow those of the input, up to a whole block, and are dropped.
    """

    def __init__(self, unit: MEModule, block: int, padded_input: bool = False) -> None:
        super().__init__()
        compress, depthwise, expand = unit.compress.conv, unit.depthwise.conv, unit.expand.conv
        groups, entering = unit.groups, compress.in_channels
        width = compress.out_channels // groups
        #: Whether the grouped convolutions take the blocked layout.
        self.blocked = (
            entering // groups % block == 0
            and expand.out_channels // groups % block == 0
            and _up(width, block) <= MAX_WIDENING[block] * width
        )
        # The depthwise convolution asks for a multiple over all groups, not in each.
        padded = _up(width, block if self.blocked else DEPTHWISE_BLOCK // gcd(groups, DEPTHWISE_BLOCK))
        bottleneck = groups * padded
        place = torch.arange(bottleneck).view(groups, padded)[:, :width].reshape(-1)
        # A shuffle moves channel i * width + j to j * groups + i.
        shuffled = Place(place.view(groups, width).t().reshape(-1), bottleneck)
        self.compress = _resized(
            compress,
            inputs=Place(torch.arange(entering), _up(entering, block)) if padded_input else None,
            outputs=Place(place, bottleneck),
        )
        # Not the unit's other activation: a PReLU learns.
        self.compress_act = unit.compress.activate
        self.depthwise = _resized(depthwise, outputs=shuffled, groups=bottleneck)
        self.side = None if unit.side is None else _padded_side(unit.side, shuffled, block)
        order = shuffled.index
        if self.blocked:
            order = order[:1].repeat(bottleneck)  # any channel does where the weights are zero
            order[place] = shuffled.index
        self.register_buffer('order', order)
        self.expand = _resized(expand, inputs=Place(torch.arange(width), len(order) // groups))
        self.act = unit.act
        pooled = self.compress.in_channels if padded_input else entering
        self.pool = None if unit.pool is None else _average(pooled, compress.weight)
        self.pooled_channels = entering

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W'), as :meth:`MEModule.forward`."""
        y = self.compress_act(self.compress(x))
        d = self.depthwise(y)
        gated = d if self.side is None else self.side.fuse(d, y)
        # Not by index: torch's exporter would write GatherND between two Transposes instead of Gather.
        z = self.expand(gated.index_select(1, self.order))
        if self.pool is None:
            return self.act(z + x)
        pooled = self.pool(x)
        if pooled.shape[1] > self.pooled_channels:
            pooled = pooled[:, : self.pooled_channels]
        if isinstance(self.act, nn.ReLU):
            return torch.cat((self.act(z), pooled), dim=1)
        return self.act(torch.cat((z, pooled), dim=1))


def _average(channels: int, like: Tensor) -> nn.Conv2d:
    """The 3x3 average of stride 2 that counts its padding."""
    conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False).to(like)
    nn.init.constant_(conv.weight, 1 / 9)
    return conv


def _padded_side(
    side: MergingEvolution | SqueezeExcitation, shuffled: Place, block: int
) -> MergingEvolution | SqueezeExcitation:
    """Copy a side path for a permuted, padded bottleneck, and pad its own width."""
    side = copy.deepcopy(side)
    merging = isinstance(side, MergingEvolution)
    first, last = (side.merge, side.evolve) if merging else (side.squeeze, side.excite)
    width = first.conv.out_channels
    narrow = Place(torch.arange(width), _up(width, block))
    first.conv = _resized(first.conv, inputs=shuffled, outputs=narrow)
    if merging and not isinstance(side.conv, nn.Identity):
        side.conv.conv = _resized(side.conv.conv, inputs=narrow, outputs=narrow)
    last.conv = _resized(last.conv, inputs=narrow, outputs=shuffled)
    return side


def _up(width: int, multiple: int) -> int:
    return ceil(width / multiple) * multiple


def _resized(
    conv: nn.Conv2d, inputs: Place | None = None, outputs: Place | None = None, groups: int | None = None
) -> nn.Conv2d:
    """Copy a convolution with its input channels (of each group) and output channels moved to new places."""
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    if outputs:
        weight = weight.new_zeros(outputs.width, *weight.shape[1:]).index_copy(0, outputs.index, weight)
        bias = bias.new_zeros(outputs.width).index_copy(0, outputs.index, bias)
    if inputs:
        weight = weight.new_zeros(len(weight), inputs.width, *weight.shape[2:]).index_copy(1, inputs.index, weight)
    groups = groups or conv.groups
    copied = nn.Conv2d(
        weight.shape[1] * groups, len(weight), conv.kernel_size, conv.stride, conv.padding, groups=groups
    )
    copied.weight.data, copied.bias.data = weight.contiguous(), bias
    return copied
