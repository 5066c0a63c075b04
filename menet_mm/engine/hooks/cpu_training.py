"""Faster training on a CPU, for any model; ``benchmarks/results/training.csv`` has figures."""

import ctypes
import platform
from collections.abc import Callable
from contextlib import ExitStack

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from menet_mm.errors import InputError
from menet_mm.models.memory_format import guard_operators
from menet_mm.registry import HOOKS
from menet_mm.utils.stack import get_is_compiling

_is_compiling = get_is_compiling()


@HOOKS.register_module()
class CPUTrainingHook(Hook):
    """Make training on a CPU faster; do nothing on a GPU, or in a run that does not train.

    ``products`` and ``averages`` use :class:`MatmulConv2d` and :class:`DepthwiseAvgPool2d` where they fit. ``keep_memory`` calls
    :func:`keep_memory`, which stays after training. ``channels_last`` gives images to the model's ``backbone`` in that memory
    format, for which the two layers do nothing. It was faster on one thread at 64 px, and slower on two threads at 224 px.
    """

    def __init__(
        self, products: bool = True, averages: bool = True, keep_memory: bool = True, channels_last: bool = False
    ) -> None:
        self.keep_memory = keep_memory
        self.options = dict(products=products, averages=averages, channels_last=channels_last)
        self._undo: Callable[[], None] = lambda: None

    def before_train(self, runner: Runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if all(parameter.device.type == 'cpu' for parameter in model.parameters()):
            if self.keep_memory:
                keep_memory()
            self._undo = optimize_for_cpu(model, **self.options)

    def after_train(self, runner: Runner) -> None:
        self._undo()


def optimize_for_cpu(
    model: nn.Module, products: bool = True, averages: bool = True, channels_last: bool = False
) -> Callable[[], None]:
    """Do in place what :class:`CPUTrainingHook` does to a model, and return a function that changes the model back.

    A layer changes its class and nothing else, so optimizers, copies and checkpoints see no difference. Only torch's own
    classes change, and none without MKL, where nothing was measured. Results differ by the order of summation. Raises
    InputError if ``channels_last`` is asked of a model without ``backbone``.
    """
    undo = ExitStack()
    if channels_last:
        if not hasattr(model, 'backbone'):
            raise InputError(
                f'channels_last needs a model with a backbone, which {type(model).__name__} lacks: set channels_last=False'
            )
        # Layers keep the format of their input, so the weights stay as they are.
        for handle in (model.backbone.register_forward_pre_hook(_channels_last), *guard_operators(model)):
            undo.callback(handle.remove)
    if torch.backends.mkl.is_available():
        for module in model.modules():
            if (products and _is_pointwise(module)) or (averages and _is_average(module)):
                undo.callback(setattr, module, '__class__', type(module))
                module.__class__ = MatmulConv2d if isinstance(module, nn.Conv2d) else DepthwiseAvgPool2d
    return undo.close


def _channels_last(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    image, *others = args
    return (image if image.is_cuda else image.contiguous(memory_format=torch.channels_last), *others)


def keep_memory() -> None:
    """Let glibc keep memory that was freed, in this process; do nothing with another C library."""
    # Training takes the same large blocks again. Zeros that the kernel writes meanwhile take a fifth of the time.
    if platform.libc_ver()[0] == 'glibc':
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-4, 0)  # M_MMAP_MAX of malloc.h
        mallopt(-1, -1)  # M_TRIM_THRESHOLD


class MatmulConv2d(nn.Conv2d):
    """A 1x1 convolution that is a matrix product while a CPU trains it: torch's also copies maps into blocks and back."""

    def forward(self, x: Tensor) -> Tensor:
        if not _trains_on_cpu(self, x) or x.ndim != 4 or x.shape[1] != self.in_channels:
            return super().forward(x)  # takes a single picture, and says what is wrong with others
        n, _, h, w = x.shape
        inputs, outputs = self.in_channels // self.groups, self.out_channels // self.groups
        # A product makes a gradient of the weights for each picture, and is slower where that is far larger than the maps.
        if inputs * outputs > 2 * h * w * (inputs + outputs):
            return super().forward(x)
        maps = x.view(n, self.groups, inputs, h * w)
        y = (self.weight.view(self.groups, outputs, inputs) @ maps).view(n, self.out_channels, h, w)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


class DepthwiseAvgPool2d(nn.AvgPool2d):
    """The 3x3 average of stride 2 that counts its padding, as a depthwise convolution while a CPU trains."""

    def forward(self, x: Tensor) -> Tensor:
        # In bfloat16 a ninth is off by 0.2 %.
        if not _trains_on_cpu(self, x) or x.ndim != 4 or x.dtype not in (torch.float32, torch.float64):
            return super().forward(x)
        ninths = x.new_full((x.shape[1], 1, 3, 3), 1 / 9)
        with torch.autocast('cpu', enabled=False):
            return nn.functional.conv2d(x, ninths, stride=2, padding=1, groups=x.shape[1])


def _is_pointwise(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.kernel_size == module.stride == (1, 1) and module.padding == (0, 0)


def _is_average(module: nn.Module) -> bool:
    if type(module) is not nn.AvgPool2d or module.ceil_mode or module.divisor_override or not module.count_include_pad:
        return False
    window = (module.kernel_size, module.stride, module.padding)
    return all(given in (size, (size, size)) for given, size in zip(window, (3, 2, 1), strict=True))


def _trains_on_cpu(module: nn.Module, x: Tensor) -> bool:
    # torch.compile does better with a convolution, which an exported graph should have, too.
    return not _is_compiling() and module.training and x.device.type == 'cpu' and x.is_contiguous()
