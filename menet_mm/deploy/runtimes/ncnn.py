"""ncnn: a ``.param`` file and its weights in a ``.bin``; pnnx writes them."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from . import Example, Function, Network, Outputs


def write(function: Function, example: Example, path: Path, dynamic_batch: bool, input_name: str) -> None:
    """See :meth:`Runtime.write`; pnnx names the input itself, and one picture is the whole batch."""
    import pnnx
    import torch

    with tempfile.TemporaryDirectory() as folder:
        torch.jit.trace(function, example).save(f'{folder}/model.pt')
        shape = ','.join(map(str, example.shape))
        command = [pnnx.EXEC_PATH, 'model.pt', f'inputshape=[{shape}]', 'fp16=0']
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        written = list(Path(folder).glob('model.ncnn.*'))
        if done.returncode or len(written) != 2:
            raise RuntimeError(f'pnnx ended with status {done.returncode}: {done.stderr[-500:]}')
        for file in written:
            shutil.move(file, path.with_suffix(file.suffix))


def load(path: Path, input_name: str, outputs: Outputs, threads: int | None, precision: str, int8: bool) -> Network:
    """See :meth:`Runtime.load`. A net takes one picture, so a batch is run picture by picture."""
    import ncnn

    net = ncnn.Net()
    for name in ('use_fp16_packed', 'use_fp16_storage', 'use_fp16_arithmetic', 'use_bf16_storage'):
        setattr(net.opt, name, False)
    if threads:
        net.opt.num_threads = threads
    if net.load_param(str(path)) or net.load_model(str(path.with_suffix('.bin'))):
        raise ValueError('ncnn cannot read the file or its .bin')

    def infer(batch: np.ndarray) -> list[np.ndarray]:
        found = {name: [] for name in outputs or net.output_names()}
        for picture in np.ascontiguousarray(batch):  # a Mat is a view of memory without gaps
            extractor = net.create_extractor()
            extractor.input(input_name, ncnn.Mat(picture))
            for name, values in found.items():
                status, value = extractor.extract(name)
                if status:
                    raise RuntimeError(f'ncnn gave no {name}')
                values.append(np.array(value))
        return [np.stack(values) for values in found.values()]

    return infer
