"""The runtimes that a model can be exported for: a table of what each can do, and a file each that writes, quantizes, loads.

A new runtime is a module with the functions ``write``, ``load`` and, for 8 bit, ``quantize``, and a row of :data:`RUNTIMES`.
Nothing here imports torch or a runtime before it is used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from menet_mm.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

#: A loaded model: a batch (N, 3, h, w) of 32-bit floats -> its outputs. Several threads may call it at once.
Network = Callable[[np.ndarray], list[np.ndarray]]
Outputs = Sequence[str] | None  # names of those to compute; all if None
#: A function of one tensor (N, 3, h, w), and such a tensor.
Function: TypeAlias = 'nn.Module'
Example: TypeAlias = 'Tensor'


@dataclass(frozen=True)
class Runtime:
    """A runtime; its row says what is true of it, its module does the work."""

    name: str  # of the module here and of the Python package that runs models
    format: str  # as tools/export.py --to calls it
    suffix: str  # of the model's file
    weights: str | None = None  # suffix of the file with its weights, if that is another
    input_name: str = 'image'
    output_name: str = '{name}'  # or with {number}, its place
    tolerance: float = 1e-4  # how much logits may differ from PyTorch's, relative to the largest
    precisions: tuple[str, ...] = ('fp32',)
    int8: bool = True
    dynamic_batch: bool = True  # whether one run can take several pictures; if not, they run one by one
    block: bool = False  # whether its form depends on the processor, see to_deploy
    write_packages: tuple[str, ...] = ('onnx', 'onnxscript')  # that writing and quantizing need besides
    quantize_packages: tuple[str, ...] = ()

    @property
    def _module(self) -> ModuleType:
        return import_module(f'.{self.name}', __name__)

    def files(self, model: Path) -> list[Path]:
        """The files of a model, without its description."""
        return [model, model.with_suffix(self.weights)] if self.weights else [model]

    def output_names(self, names: Sequence[str]) -> list[str]:
        """What the outputs of a function are called in the written file."""
        return [self.output_name.format(name=name, number=number) for number, name in enumerate(names)]

    def check(self, int8: bool = False, dynamic_batch: bool = False) -> None:
        """Raise InputError if the runtime cannot write what is asked for, or a package is missing."""
        for asked, what in (('int8', int8), ('dynamic_batch', dynamic_batch)):
            if what and not getattr(self, asked):
                others = ' or '.join(other.suffix for other in RUNTIMES.values() if getattr(other, asked))
                option = f'--{asked.replace("_", "-")}'
                raise InputError(f'{self.name} is written without {option}: leave it out, or use {others}')
        for package in (self.name, *self.write_packages, *(self.quantize_packages if int8 else ())):
            if not find_spec(package):
                raise InputError(f"export needs {package}: run `pip install 'menet-mm[export,edge]'`")

    def write(self, function: Function, example: Example, path: Path, dynamic_batch: bool = False) -> None:
        """Write a function, whose ``outputs`` name its results, in 32 bit for inputs of the example's size.

        Without names there is one ``output``. With ``dynamic_batch`` N may vary.
        """
        self._module.write(function, example, path, dynamic_batch, self.input_name)

    def quantize(self, path: Path, batches: Sequence[np.ndarray]) -> None:
        """Quantize a written model to 8 bit, in place, with the runtime's own tool, calibrated on inputs.

        Weights get 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which would overflow
        (`ONNX Runtime's note <https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html>`_).
        """
        self._module.quantize(path, batches)

    def load(
        self,
        path: Path,
        input_name: str,
        outputs: Outputs = None,
        threads: int | None = None,
        precision: str = 'fp32',
        int8: bool = False,
    ) -> Network:
        """Load a model, which is quantized if ``int8``; see :class:`Runner` for the rest and what raises InputError."""
        if precision not in self.precisions:
            known = ' or '.join(self.precisions)
            raise InputError(f'{self.name} computes in {known}, but got {precision!r}: give another precision')
        try:
            return self._module.load(path, input_name, outputs, threads, precision, int8)
        except InputError:
            raise
        except ModuleNotFoundError as error:
            raise InputError(f'{path} needs {error.name}: run `pip install {error.name}`') from None
        except Exception as error:  # each runtime has exceptions of its own
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1].rstrip('.')
            raise InputError(f'{path} cannot be loaded ({reason}): export it again') from None


_NCNN = dict(input_name='in0', output_name='out{number}', tolerance=1e-3, dynamic_batch=False, write_packages=('pnnx',))
_ROWS = (
    Runtime('onnxruntime', 'onnx', '.onnx', block=True),
    Runtime('openvino', 'openvino', '.xml', '.bin', precisions=('fp32', 'bf16'), quantize_packages=('nncf',)),
    Runtime('ncnn', 'ncnn', '.param', '.bin', int8=False, **_NCNN),  # its quantizer is no part of the Python package
)
RUNTIMES = {runtime.name: runtime for runtime in _ROWS}


def runtime_of(path: str | Path) -> Runtime:
    """The runtime that takes a file, by its ending. Raises InputError if there is none."""
    for runtime in RUNTIMES.values():
        if Path(path).suffix == runtime.suffix:
            return runtime
    known = ', '.join(f'{runtime.suffix} ({runtime.name})' for runtime in RUNTIMES.values())
    raise InputError(f'{path} is no file of a runtime: its name must end in one of {known}')


def is_exported(path: str | Path) -> bool:
    """Tell whether a file is an exported model, by its ending."""
    return Path(path).suffix in {runtime.suffix for runtime in RUNTIMES.values()}
