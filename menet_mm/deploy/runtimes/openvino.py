"""OpenVINO: an ``.xml`` file and its weights in a ``.bin``. The functions are those of :class:`Runtime`."""

import os
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from menet_mm.errors import InputError

from . import Example, Function, Network, Outputs, onnxruntime

#: The variable from which OpenVINO takes what it may use of the processor, and all but AMX.
ISA, WITHOUT_AMX = 'ONEDNN_MAX_CPU_ISA', 'AVX512_CORE_FP16'


@contextmanager
def without_amx() -> Iterator[None]:
    """Have OpenVINO leave Intel's AMX alone, if it computes for the first time in this process within the context.

    With AMX, OpenVINO 2026.4 computes 8-bit convolutions wrongly, or crashes
    (https://github.com/openvinotoolkit/openvino/issues/37577). It reads the variable once.
    """
    chosen = ISA in os.environ
    os.environ.setdefault(ISA, WITHOUT_AMX)
    try:
        yield
    finally:
        if not chosen:
            os.environ.pop(ISA, None)  # for processes that this one starts; another thread may have done it


def write(function: Function, example: Example, path: Path, dynamic_batch: bool, input_name: str) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / 'model.onnx'
        onnxruntime.write(function, example, onnx, dynamic_batch, input_name)
        openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


def quantize(path: Path, batches: Sequence[np.ndarray]) -> None:
    import nncf
    import openvino

    weights = path.with_suffix('.bin').read_bytes()  # into memory, since the file is replaced
    model = openvino.Core().read_model(path.read_bytes(), weights)
    advanced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
    settings = dict(preset=nncf.QuantizationPreset.MIXED, subset_size=len(batches), advanced_parameters=advanced)
    with without_amx():  # it runs the network to correct biases
        quantized = nncf.quantize(model, nncf.Dataset(batches), **settings)
    openvino.save_model(quantized, path, compress_to_fp16=False)


def load(path: Path, input_name: str, outputs: Outputs, threads: int | None, precision: str, int8: bool) -> Network:
    """See :meth:`Runtime.load`; raises InputError where the processor has no bf16 or AMX would spoil 8 bit."""
    with nullcontext() if precision == 'bf16' and not int8 else without_amx():  # bf16 is right with AMX, and faster
        import openvino

        core = openvino.Core()
        # OpenVINO would silently compute in fp32.
        if precision == 'bf16' and 'BF16' not in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
            raise InputError("this processor has no bf16 for OpenVINO: take precision 'fp32', which is the default")
        # OpenVINO would choose the precision by itself; 0 threads are its default.
        properties = dict(INFERENCE_PRECISION_HINT=precision.replace('fp32', 'f32'), INFERENCE_NUM_THREADS=threads or 0)
        model = core.compile_model(str(path), 'CPU', dict(properties, PERFORMANCE_HINT='LATENCY'))
    kernels = [op.get_rt_info()['primitiveType'].astype(str) for op in model.get_runtime_model().get_ops()]
    if any('amx' in kernel and 'I8' in kernel for kernel in kernels):
        wrong = f'OpenVINO would compute {path} with AMX, which it does wrongly in 8 bit'
        raise InputError(f'{wrong}: set {ISA}={WITHOUT_AMX} before OpenVINO is first used in this process')
    names = outputs or [output.any_name for output in model.outputs]
    local = threading.local()  # a request holds the tensors of one run, so each thread has its own

    def infer(batch: np.ndarray) -> list[np.ndarray]:
        if not hasattr(local, 'request'):
            local.request = model.create_infer_request()
        local.request.infer({input_name: batch})
        return [local.request.get_tensor(name).data.copy() for name in names]

    return infer
