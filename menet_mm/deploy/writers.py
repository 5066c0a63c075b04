"""Writing a function of one tensor in the files of ONNX Runtime, OpenVINO and ncnn, and quantizing them."""

from __future__ import annotations

import io
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from menet_mm.deploy.runner import without_amx

#: ONNX Runtime runs AveragePool and others of opset 20 slower.
OPSET = 18


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries print; errors still come as exceptions."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _write_onnx(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    batch = {0: torch.export.Dim('batch')}
    torch.onnx.export(
        form,
        (example,),
        path,
        input_names=['image'],
        output_names=list(getattr(form, 'outputs', ('output',))),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=(batch,) if dynamic_batch else None,
    )


def _write_openvino(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    openvino = import_module('openvino')
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / 'model.onnx'
        _write_onnx(form, example, onnx, dynamic_batch)
        openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


def _write_ncnn(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    converter = import_module('pnnx').EXEC_PATH
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / 'model.pt'
        torch.jit.trace(form, example).save(traced)
        shape = ','.join(map(str, example.shape))
        done = subprocess.run(
            [converter, traced.name, f'inputshape=[{shape}]', 'fp16=0'], cwd=folder, capture_output=True, text=True
        )
        written = {suffix: Path(folder) / f'model.ncnn{suffix}' for suffix in ('.param', '.bin')}
        if done.returncode or not all(file.is_file() for file in written.values()):
            raise RuntimeError(f'pnnx ended with status {done.returncode}: {done.stderr[-500:]}')
        for suffix, file in written.items():
            shutil.move(file, path.with_suffix(suffix))


def _quantize_onnx(path: Path, batches: list[np.ndarray]) -> None:
    quantization = import_module('onnxruntime.quantization')

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {'image': batch}

    quantized = path.with_name(f'int8-{path.name}')
    quantization.quantize_static(str(path), str(quantized), Reader(), per_channel=True, reduce_range=True)
    os.replace(quantized, path)


def _quantize_openvino(path: Path, batches: list[np.ndarray]) -> None:
    nncf, openvino = import_module('nncf'), import_module('openvino')
    model = openvino.Core().read_model(path)
    with without_amx():  # it runs the network to correct biases
        quantized = nncf.quantize(
            model,
            nncf.Dataset(batches),
            subset_size=len(batches),
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
    # The model's weights lie in the file that is replaced.
    folder = path.with_name('int8')
    openvino.save_model(quantized, folder / path.name, compress_to_fp16=False)
    del model, quantized
    for suffix in ('.xml', '.bin'):
        os.replace((folder / path.name).with_suffix(suffix), path.with_suffix(suffix))
    folder.rmdir()


def write_model(runtime: str, function: nn.Module, example: Tensor, path: Path, dynamic_batch: bool = False) -> None:
    """Write a function of one tensor for a runtime, as 32-bit floats.

    Args:
        runtime: ``onnxruntime``, ``openvino`` or ``ncnn``.
        function: such as :func:`make_function` returns; its ``outputs`` name the results, ``output`` if it has none.
        example: an input of the size that the model will take.
        path: file with the runtime's ending.
        dynamic_batch: let the first dimension vary.
    """
    write = {'onnxruntime': _write_onnx, 'openvino': _write_openvino, 'ncnn': _write_ncnn}[runtime]
    write(function, example, path, dynamic_batch)


def quantize(runtime: str, path: Path, batches: list[np.ndarray]) -> None:
    """Quantize a written model to 8 bit, in place, with the runtime's own tool.

    Weights get 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which would overflow and leave
    little of a network (`ONNX Runtime's note <https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html>`_).

    Args:
        runtime: ``onnxruntime`` or ``openvino``.
        path: the model.
        batches: inputs to calibrate on.
    """
    {'onnxruntime': _quantize_onnx, 'openvino': _quantize_openvino}[runtime](path, batches)
