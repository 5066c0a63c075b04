"""ONNX Runtime: one ``.onnx`` file. The functions are those of :class:`Runtime`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from . import Example, Function, Network, Outputs

OPSET = 18  # ONNX Runtime runs AveragePool and others of opset 20 slower


def write(function: Function, example: Example, path: Path, dynamic_batch: bool, input_name: str) -> None:
    import torch

    names = dict(input_names=[input_name], output_names=list(getattr(function, 'outputs', ('output',))))
    shapes = ({0: torch.export.Dim('batch')},) if dynamic_batch else None
    settings = dict(opset_version=OPSET, dynamo=True, external_data=False, verbose=False)
    torch.onnx.export(function, (example,), path, dynamic_shapes=shapes, **names, **settings)


def quantize(path: Path, batches: Sequence[np.ndarray]) -> None:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    model = onnx.load(path)
    inputs = ({model.graph.input[0].name: batch} for batch in batches)

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict | None:
            return next(inputs, None)

    quantize_static(model, path, Reader(), per_channel=True, reduce_range=True)


def load(path: Path, input_name: str, outputs: Outputs, threads: int | None, precision: str, int8: bool) -> Network:
    """See :meth:`Runtime.load`; a session may be run by several threads."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads or 0
    # Idle threads that spin would starve what else runs on a small device.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    return lambda batch: session.run(outputs, {input_name: batch})
