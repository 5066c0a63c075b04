"""The default memory format for operators that know no other, in a model whose images and maps are channels_last."""

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def guard_operators(model: nn.Module) -> list[RemovableHandle]:
    """Give mmcv's own operators, such as RoIAlign, tensors in the default format; the handles' ``remove`` ends it.

    They ignore strides, so another format would give wrong results.
    """
    operators = [module for module in model.modules() if type(module).__module__.startswith('mmcv.ops.')]
    return [module.register_forward_pre_hook(_default_format) for module in operators]


def _default_format(module: nn.Module, args: tuple) -> tuple:
    return tuple(value.contiguous() if isinstance(value, Tensor) else value for value in args)
