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
from menet_mm.models import MEModule, MENet, MergingEvolution, SqueezeExcitation
from menet_mm.models.memory_format import guard_operators

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
        block = block or native_block()
        for module in list(model.modules()):
            if isinstance(module, MENet) and _is_plain(module):
                with module.stem[0].conv.weight.device:
                    _rearrange(module, block)
            for name, child in module.named_children():
                # torch's attention reads the weights of its layers past their forward.
                if type(child) is nn.Linear and not type(module).__module__.startswith('torch.nn.modules.'):
                    setattr(module, name, TransposedLinear(child))
                elif isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                    setattr(module, name, GlobalAverage())
    return model


def _rearrange(backbone: MENet, block: int) -> None:
    """Rearrange a MENet or ShuffleNet for ONNX Runtime, in place."""
    # Otherwise the pooling behind the stem, of the largest maps, needs the plain layout.
    place = _spread(backbone.stem[0].conv.out_channels, block)
    backbone.stem[0].conv = _resized(backbone.stem[0].conv, outputs=place)
    for i, stage in enumerate(backbone.stages):
        leaving = _residual_place(stage[0], place, block)
        for j, unit in enumerate(stage):
            stage[j] = BlockedUnit(unit, block, place, leaving)
            place = leaving
        if len(stage) > 1 and stage[1].expands_blocked and not stage[0].expands_blocked:
            # What the first unit joins is plain. It changes nothing but the layout, which the sums of the stage then keep.
            stage[0] = nn.Sequential(stage[0], nn.MaxPool2d(1))
        if i in backbone.out_indices and place.padded:
            stage.append(Select(place.index))
            place = _spread(len(place.index))
    backbone.requires_grad_(False)


def _residual_place(unit: MEModule, entering: Place, block: int) -> Place:
    """Decide where the channels go that leave a stage's first unit: with padding if all of the stage is blocked then."""
    made, groups = unit.expand.conv.out_channels, unit.groups
    joined = _joined(_spread(made, block, groups), entering)
    channels = made + len(entering.index)
    inner = unit.compress.conv.out_channels // groups
    pays = _up(inner, block) * joined.width <= MAX_WIDENING[block] * inner * channels
    aligned = (
        joined.width % (groups * block) == entering.width % block == 0
        # The next unit's groups hold the channels that they would hold without the padding.
        and torch.equal(joined.index // (joined.width // groups), _spread(channels).index // (channels // groups))
    )
    # Padding that was carried on from stage to stage would cost more than dropping it where maps are halved.
    return joined if pays and aligned and not entering.padded else _spread(channels)


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
    """Where channels go in a tensor that may be wider, whose other channels are not used."""

    index: Tensor
    width: int

    @property
    def padded(self) -> bool:
        return self.width > len(self.index)


class Select(nn.Module):
    """Some channels, in an order.

    Args:
        index: which.
    """

    def __init__(self, index: Tensor) -> None:
        super().__init__()
        self.register_buffer('index', index.to(torch.get_default_device()))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, len(index), H, W)."""
        # Not by index: torch's exporter would write GatherND between two Transposes instead of Gather.
        return x.index_select(1, self.index)


class BlockedUnit(nn.Module):
    """An ME module, or ShuffleNet's unit, arranged for ONNX Runtime's CPU kernels; its norm layers must be folded already.

    - The shuffle moves from before the depthwise convolution and the side path to behind the gate, as one Gather; the
      weights in between are permuted instead. A compressing convolution that is not grouped writes its channels in the order
      that is needed, without any shuffle.
    - The bottleneck is padded with zeros so that the depthwise convolution, and where it costs little the grouped ones, take
      the blocked layout, and the side path to a whole block.
    - With stride 2, the average is a depthwise convolution unless the input has whole blocks, and the branches are joined
      behind the ReLU, which can then be part of the convolution: what was pooled from a ReLU needs no other.

    Args:
        unit: the unit.
        block: one of :data:`BLOCKS`.
        entering: where its input's channels are.
        leaving: where its output's channels go.
    """

    def __init__(self, unit: MEModule, block: int, entering: Place, leaving: Place) -> None:
        super().__init__()
        compress, depthwise, expand = unit.compress.conv, unit.depthwise.conv, unit.expand.conv
        groups = unit.groups
        width = compress.out_channels // groups
        made = leaving if unit.pool is None else _spread(expand.out_channels, block if leaving.padded else 1, groups)
        pays = _up(width, block) <= MAX_WIDENING[block] * width
        compresses_blocked = pays and compress.groups > 1 and entering.width // groups % block == 0
        #: Whether the expanding convolution takes the blocked layout.
        self.expands_blocked = pays and made.width // groups % block == 0
        # The depthwise convolution asks for a multiple over all groups, not in each.
        multiple = DEPTHWISE_BLOCK // gcd(groups, DEPTHWISE_BLOCK)
        spread = _spread(groups * width, block if compresses_blocked or self.expands_blocked else multiple, groups)
        # A shuffle moves channel i * width + j to j * groups + i.
        shuffled = _spread(groups * width).index.view(groups, width).t().reshape(-1)
        if compress.groups == 1:
            ordered = expanded = spread
            self.shuffle = nn.Identity()
            compressed = Place(spread.index[shuffled.argsort()], spread.width)
        else:
            compressed, ordered = spread, Place(spread.index[shuffled], spread.width)
            expanded = spread if self.expands_blocked else _spread(groups * width)
            order = ordered.index[:1].repeat(expanded.width)  # any channel does where the weights are zero
            order[expanded.index] = ordered.index
            self.shuffle = Select(order)
        self.compress = _resized(compress, entering, compressed)
        # Not the unit's other activation: a PReLU learns.
        self.compress_act = unit.compress.activate
        self.depthwise = _resized(depthwise, outputs=ordered)
        self.side = None if unit.side is None else _padded_side(unit.side, ordered, block)
        self.expand = _resized(expand, expanded, made)
        self.act = unit.act
        drops = entering.padded and not leaving.padded
        self.pool = None
        if unit.pool is not None:
            pool = _average(entering.width, block, compress.weight)
            self.pool = nn.Sequential(pool, Select(entering.index)) if drops else pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, C_in, H, W) -> (N, C_out, H', W'), as :meth:`MEModule.forward`."""
        y = self.compress_act(self.compress(x))
        d = self.depthwise(y)
        gated = d if self.side is None else self.side.fuse(d, y)
        z = self.expand(self.shuffle(gated))
        if self.pool is None:
            return self.act(z + x)
        if isinstance(self.act, nn.ReLU):
            return torch.cat((self.act(z), self.pool(x)), dim=1)
        return self.act(torch.cat((z, self.pool(x)), dim=1))


def _average(channels: int, block: int, like: Tensor) -> nn.Module:
    """The 3x3 average of stride 2 that counts its padding: a pooling is blocked for whole blocks alone."""
    if channels % block == 0:
        return nn.AvgPool2d(3, stride=2, padding=1)
    conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False).to(like)
    nn.init.constant_(conv.weight, 1 / 9)
    return conv


def _padded_side(
    side: MergingEvolution | SqueezeExcitation, bottleneck: Place, block: int
) -> MergingEvolution | SqueezeExcitation:
    """Copy a side path for a permuted, padded bottleneck, and pad its own width."""
    side = copy.deepcopy(side)
    merging = isinstance(side, MergingEvolution)
    first, last = (side.merge, side.evolve) if merging else (side.squeeze, side.excite)
    narrow = _spread(first.conv.out_channels, block)
    first.conv = _resized(first.conv, bottleneck, narrow)
    if merging and not isinstance(side.conv, nn.Identity):
        side.conv.conv = _resized(side.conv.conv, narrow, narrow)
    last.conv = _resized(last.conv, narrow, bottleneck)
    return side


def _up(width: int, multiple: int) -> int:
    return ceil(width / multiple) * multiple


def _spread(channels: int, multiple: int = 1, groups: int = 1) -> Place:
    """Channels in their order, with each group padded behind to a multiple."""
    width = channels // groups
    padded = _up(width, multiple)
    # Places are compared, which the meta device cannot do.
    index = torch.arange(groups * padded, device='cpu').view(groups, padded)[:, :width].reshape(-1)
    return Place(index, groups * padded)


def _joined(first: Place, second: Place) -> Place:
    return Place(torch.cat((first.index, second.index + first.width)), first.width + second.width)


def _resized(conv: nn.Conv2d, inputs: Place | None = None, outputs: Place | None = None) -> nn.Conv2d:
    """Copy a convolution with its channels moved to new places, which must be in the group that they were in.

    A depthwise convolution has outputs alone: its inputs have their places.
    """
    weight = conv.weight.detach()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
    groups = conv.groups
    if inputs:
        width = inputs.width // groups
        index = (inputs.index % width).view(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        wider = weight.new_zeros(len(weight), width, *weight.shape[2:])
        weight = wider.scatter(1, index[..., None, None].expand_as(weight).to(weight.device), weight)
    elif groups > 1:
        groups = outputs.width
    if outputs:
        index = outputs.index.to(weight.device)
        weight = weight.new_zeros(outputs.width, *weight.shape[1:]).index_copy(0, index, weight)
        bias = bias.new_zeros(outputs.width).index_copy(0, index, bias)
    copied = nn.Conv2d(
        weight.shape[1] * groups, len(weight), conv.kernel_size, conv.stride, conv.padding, groups=groups
    )
    copied.weight.data, copied.bias.data = weight.contiguous(), bias
    return copied
