"""ncnn: a ``.param`` file and its weights in a ``.bin``; pnnx writes them."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor, nn


def write(function: nn.Module, example: Tensor, path: Path, dynamic_batch: bool, input_name: str) -> None:
    """See :meth:`Runtime.write`; pnnx names the input itself, and one picture is the whole batch."""
    import pnnx
    import torch

    example = example[:1]
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / 'model.pt'
        torch.jit.trace(function, example).save(traced)
        shape = ','.join(map(str, example.shape))
        command = [pnnx.EXEC_PATH, traced.name, f'inputshape=[{shape}]', 'fp16=0']
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        written = {suffix: Path(folder) / f'model.ncnn{suffix}' for suffix in ('.param', '.bin')}
        if done.returncode or not all(file.is_file() for file in written.values()):
            raise RuntimeError(f'pnnx ended with status {done.returncode}: {done.stderr[-500:]}')
        for suffix, file in written.items():
            shutil.move(file, path.with_suffix(suffix))


def load(
    path: Path, input_name: str, outputs: Sequence[str] | None, threads: int | None, precision: str, int8: bool
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """See :meth:`Runtime.load`. A net takes one picture, so a batch is run picture by picture."""
    import ncnn

    net = ncnn.Net()
    for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
        setattr(net.opt, name, False)
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix('.bin'))):
        raise ValueError('ncnn cannot read the file or its .bin')
    names = outputs or net.output_names()

    def infer_one(picture: np.ndarray) -> list[np.ndarray]:
        extractor = net.create_extractor()
        extractor.input(input_name, ncnn.Mat(picture))
        found = []
        for name in names:
            status, value = extractor.extract(name)
            if status:
                raise RuntimeError(f'ncnn gave no {name}')
            found.append(np.array(value))
        return found

    def infer(batch: np.ndarray) -> list[np.ndarray]:
        # A Mat is a view of memory without gaps.
        parts = [infer_one(picture) for picture in np.ascontiguousarray(batch)]
        return [np.stack(values) for values in zip(*parts, strict=True)]

    return infer
