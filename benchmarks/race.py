"""Speed, measured as ratios: contestants take turns, each in a process of its own, and medians of rounds are compared."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import cv2
import matplotlib
import numpy as np
import pandas as pd
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

import menet_mm
from benchmarks.worker import ANSWER, Contestant
from menet_mm.datasets.doctor import check_annotations, leaf_configs
from menet_mm.deploy.exporter import preprocess_steps
from menet_mm.deploy.forms import to_deploy
from menet_mm.deploy.functions import make_function
from menet_mm.deploy.writers import quantize, write_model
from menet_mm.engine.launch import keep_memory
from menet_mm.errors import InputError
from menet_mm.models.memory_format import give_channels_last
from studies.definition import count

matplotlib.use('Agg')
import matplotlib.pyplot as plt

LIBRARIES = ('torch', 'onnxruntime', 'openvino', 'ncnn', 'nncf', 'pytorchcv')
#: Every contestant is started anew this often at least, and once in so many rounds: speed hangs by several per cent on where
#: a process's memory happens to lie.
STARTS, ROUNDS_OF_A_START = 3, 5
ENDINGS = {'onnxruntime': '.onnx', 'openvino': '.xml', 'ncnn': '.param'}


def race(
    contestants: Sequence[Contestant],
    folder: Path,
    rounds: int = 15,
    reference: int = 0,
    progress: Callable[[str], None] = lambda _: None,
) -> pd.DataFrame:
    """Let contestants run in turns, and compare them.

    Args:
        contestants: who takes part.
        folder: where exported models are kept, to be used again as long as code, config and versions stay as they are.
        rounds: measured turns of each, in several processes one after the other, see :data:`STARTS`.
        reference: whose time the ratios are to.
        progress: gets a line at every step.

    Returns:
        A row each: the contestant, ``mmacs`` of its network (of a picture), ``milliseconds`` (median over rounds, of a
        batch), ``low`` and ``high`` (quartiles), ``ratio`` to the reference (median of the ratios within a round),
        ``images_per_second``, ``peak_mb`` of its process, and what it was measured on.

    Raises:
        InputError: if a contestant cannot be built.
    """
    paths = []
    for number, contestant in enumerate(contestants):
        progress(f'{number + 1}/{len(contestants)} {_name(contestant)}')
        paths.append(None if contestant.runtime == 'torch' else _exported(contestant, folder))
    seconds = np.zeros((rounds, len(contestants)))
    peaks = np.zeros(len(contestants), int)
    starts = min(rounds, max(STARTS, rounds // ROUNDS_OF_A_START))
    for part in np.array_split(np.arange(rounds), starts):
        workers = []
        try:
            for contestant, path in zip(contestants, paths, strict=True):
                progress(f'starting {_name(contestant)}')
                workers.append(_Worker(contestant, path))
            for worker in workers:
                worker.ask('measure')  # to warm up
            for i in part:
                progress(f'round {i + 1} of {rounds}')
                # At random, since a turn feels what the one before it left in the caches.
                for k in np.random.default_rng(i).permutation(len(workers)):
                    seconds[i, k] = workers[k].ask('measure')
            peaks = np.maximum(peaks, [round(worker.ask('peak')) for worker in workers])
        finally:
            for worker in workers:
                worker.stop()
    milliseconds = 1000 * np.percentile(seconds, [50, 25, 75], axis=0)
    ratios = np.median(seconds / seconds[:, [reference]], axis=0)
    rows = []
    for k, contestant in enumerate(contestants):
        median, low, high = milliseconds[:, k].round(3)
        rows.append(
            dict(
                asdict(contestant),
                mmacs=_mmacs(contestant.network),
                milliseconds=median,
                low=low,
                high=high,
                ratio=round(ratios[k], 3),
                images_per_second=round(1000 * contestant.batch / milliseconds[0, k], 1),
                peak_mb=peaks[k],
                rounds=rounds,
                **machine(),
            )
        )
    return pd.DataFrame(rows)


def machine() -> dict[str, str | int]:
    """What a measurement was made on: processor, its vector instructions as torch names them, cores, versions, date."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    cpu = Path('/proc/cpuinfo')
    lines = cpu.read_text().splitlines() if cpu.is_file() else []
    name = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), platform.machine())
    return dict(
        cpu=name,
        vectors=torch.backends.cpu.get_cpu_capability(),
        cores=len(os.sched_getaffinity(0)),
        python=platform.python_version(),
        **found,
        menet_mm=menet_mm.__version__,
        date=date.today().isoformat(),
    )


def _name(contestant: Contestant) -> str:
    c = contestant
    return f'{c.network} {c.source} {c.runtime} {c.form} {c.precision}, batch {c.batch}, threads {c.threads}'


class _Worker:
    """A contestant in a process of its own: runtimes in one process would share threads, memory and caches."""

    def __init__(self, contestant: Contestant, path: Path | None) -> None:
        self.name = _name(contestant)
        setup = json.dumps(dict(asdict(contestant), path=path and str(path), interface=_interface(contestant)))
        code = 'from benchmarks.worker import main; from menet_mm.utils.cli import run; run(main)'
        if path:
            # As on a device, where the package finds no MMEngine to register itself with.
            code = f'import sys; sys.modules["mmengine"] = None; {code}'
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', '-c', code, setup],
            env={**os.environ, 'OMP_NUM_THREADS': str(contestant.threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._receive()

    def _receive(self) -> float:
        # Libraries print, too.
        for line in self.process.stdout:
            if line.startswith(ANSWER):
                return float(line.removeprefix(ANSWER))
        raise InputError(f'{self.name} cannot be run: its error is above')

    def ask(self, question: str) -> float:
        """Get an answer: ``measure`` for seconds of a run, ``peak`` for the most memory that the process held, in MB."""
        self.process.stdin.write(f'{question}\n')
        self.process.stdin.flush()
        return self._receive()

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


def build_torch(contestant: Contestant) -> Callable[[], object]:
    """Make the function that a worker times, of a contestant that runs in torch."""
    torch.manual_seed(0)
    torch.set_num_threads(contestant.threads)
    function, size = _function(contestant)
    image = torch.rand(contestant.batch, 3, *size)
    if contestant.training:
        return _training_step(contestant, function, image)
    if contestant.form == 'compiled':
        # Frozen weights are folded and laid out for the processor when it compiles.
        function = torch.compile(function, options={'freezing': True})

    def step() -> None:
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=contestant.precision == 'bf16'):
            function(image)

    return step


def _training_step(contestant: Contestant, function: nn.Module, image: Tensor) -> Callable[[], None]:
    function.train().requires_grad_(True)
    if contestant.form != 'plain':
        keep_memory()
    if contestant.form == 'channels_last':
        give_channels_last(function.model)
    if contestant.form == 'compiled':
        function = torch.compile(function)
    labels = torch.randint(0, 100, (len(image),))  # of 1000 classes or 100
    optimizer = torch.optim.SGD(function.parameters(), 0.1, 0.9, weight_decay=4e-5, nesterov=True)

    def step() -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=contestant.precision == 'bf16'):
            loss = nn.functional.cross_entropy(function(image), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _config(network: str) -> Config:
    folders = (Path('configs'), Path(menet_mm.__file__).parent / '.mim/configs/menet')
    path = next((p for p in (folder / f'{network}.py' for folder in folders) if p.is_file()), None)
    if path is None:
        raise InputError(f'no config {network}: give names of configs, such as menet228_in1k')
    return Config.fromfile(path)


def _function(contestant: Contestant) -> tuple[nn.Module, tuple[int, int]]:
    """Build a contestant's network, in the form that it takes, as a function of one tensor; and tell (h, w) of that."""
    cfg = _config(contestant.network)
    _, size = preprocess_steps(cfg)
    if contestant.source == 'pytorchcv':
        from pytorchcv.model_provider import get_model

        return _as_trained(get_model(pytorchcv_name(cfg.model.backbone)).eval()), size
    init_default_scope(cfg.default_scope)
    model = _as_trained(MODELS.build(cfg.model).eval())
    if contestant.form in ('deploy', 'compiled') and not contestant.training:
        model = to_deploy(model, contestant.runtime)
    return make_function(model, size).eval(), size


def _as_trained(model: nn.Module) -> nn.Module:
    """Give a network random weights with which it takes the time that it takes once it is trained.

    - Every batch norm is shifted. Otherwise the folded convolutions have biases of zero, torch's exporter drops those, and
      ONNX Runtime does not add the residual within a convolution that has none: our form would seem slower than it is.
    - Every network's convolutions are initialized as ours are. With pytorchcv's own weights MENet's activations grow to
      hundreds, and exponentials in sigmoids become denormal numbers, for which some processors need far longer.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
    return model


def pytorchcv_name(backbone: dict) -> str:
    """The name that pytorchcv has for a backbone of ours.

    Raises:
        InputError: if it has none.
    """
    kind, arch = backbone['type'].rpartition('.')[2], backbone['arch']
    names = {
        'MENet': lambda: f'menet{arch.replace("-", "_")}',
        'ShuffleNetV1': lambda: {'1x-g3': 'shufflenet_g3_w1', '0.5x-g3': 'shufflenet_g3_wd2'}[arch],
        'MobileNetV1': lambda: {'1.0': 'mobilenet_w1', '0.5': 'mobilenet_wd2', '0.25': 'mobilenet_wd4'}[arch],
    }
    if kind not in names:
        raise InputError(f'pytorchcv has no {kind}')
    return names[kind]()


@cache
def _mmacs(network: str) -> float:
    cfg = _config(network)
    init_default_scope(cfg.default_scope)
    _, size = preprocess_steps(cfg)
    return round(count(MODELS.build(cfg.model).eval(), torch.rand(1, 3, *size))[1], 2)


@cache
def _fingerprint(network: str) -> str:
    """Tell apart everything that an exported model depends on: the package's code, the config, the libraries, the processor."""
    found = hashlib.sha256(_config(network).pretty_text.encode())
    package = Path(menet_mm.__file__).parent
    for path in sorted((*package.glob('models/*.py'), *package.glob('deploy/*.py'), package / 'benchmark.py')):
        found.update(path.read_bytes())
    stamp = {key: value for key, value in machine().items() if key != 'date'}
    found.update(json.dumps(stamp).encode())
    return found.hexdigest()[:12]


def _interface(contestant: Contestant) -> dict:
    """Names and shape of the input, and names of the outputs, which only ncnn must know."""
    outputs = None
    if contestant.runtime == 'ncnn':
        outputs = ['out0', 'out1'] if contestant.network.startswith('ssd') else ['out0']
    _, size = preprocess_steps(_config(contestant.network))
    name = 'in0' if contestant.runtime == 'ncnn' else 'image'
    return dict(input=dict(name=name, shape=[contestant.batch, 3, *size]), outputs=outputs)


def _exported(contestant: Contestant, folder: Path) -> Path:
    """Write a contestant's model, unless that was done before."""
    int8 = contestant.precision == 'int8'
    parts = (
        contestant.network,
        contestant.source,
        contestant.form,
        f'b{contestant.batch}',
        *(['int8'] if int8 else []),
        _fingerprint(contestant.network),
    )
    # OpenVINO's and ncnn's weights would have one name.
    path = folder / contestant.runtime / f'{"-".join(parts)}{ENDINGS[contestant.runtime]}'
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    function, size = _function(contestant)
    image = torch.rand(contestant.batch, 3, *size)
    # Whoever measures the same in this folder at the same time has a place of its own, too.
    with tempfile.TemporaryDirectory(dir=path.parent) as place:
        partial = Path(place) / f'partial{path.suffix}'
        if contestant.form == 'default' and contestant.runtime == 'onnxruntime':
            torch.onnx.export(function, (image,), partial, input_names=['image'], external_data=False, verbose=False)
        else:
            write_model(contestant.runtime, function, image, partial)
        if int8:
            generator = np.random.default_rng(0)
            quantize(contestant.runtime, partial, [generator.random(image.shape, np.float32) for _ in range(8)])
        # The one that is looked for comes last, so that it has its weights.
        for file in sorted(partial.parent.glob('partial.*'), key=lambda file: file.suffix == path.suffix):
            file.rename(path.with_suffix(file.suffix))
    return path


def plot(rows: pd.DataFrame, path: Path) -> None:
    """Plot milliseconds of each network, least multiply-adds first, by runtime and form; the rows must be of one race."""
    chosen = rows.copy()
    chosen['way'] = chosen.source + ', ' + chosen.runtime + ', ' + chosen.form + ', ' + chosen.precision
    places = chosen.groupby('network').mmacs.first().sort_values()
    heights = {network: i for i, network in enumerate(places.index)}
    fig, axis = plt.subplots(figsize=(10, max(3.2, 1 + 0.45 * len(places))), layout='constrained')
    for number, (_, of_runtime) in enumerate(chosen.groupby('runtime', sort=False)):
        for marker, (way, group) in zip('osD^vPX*', of_runtime.groupby('way', sort=False), strict=False):
            height = group.network.map(heights)
            axis.plot(group.milliseconds, height, marker, color=f'C{number}', fillstyle='none', label=way)
    axis.set_yticks(range(len(places)), [f'{network}\n{mmacs:.1f} MMACs' for network, mmacs in places.items()])
    axis.set(xlabel=f'ms, batch {rows.batch[0]}, threads {rows.threads[0]}', xscale='log')
    for formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        formatter('{x:g}')
    axis.grid(alpha=0.3, which='both')
    axis.margins(y=0.15)
    axis.legend(fontsize=8, loc='center left', bbox_to_anchor=(1, 0.5))
    fig.savefig(path, dpi=110)
    plt.close(fig)


#: SSD's as in mmdet's configs/pascal_voc/ssd300_voc0712.py. Ours drops boxes below a pixel in a step more.
MMDET_SSD_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Expand', mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4)),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='Resize', scale=(300, 300), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='PackDetInputs'),
]


def measure_pipelines(
    pipelines: dict[str, list[dict]], dataset_cfg: dict, images: int = 200, rounds: int = 5
) -> list[dict[str, str | float]]:
    """Run every pipeline on every picture in turn, with the same seed for each picture, in one process and one thread.

    Taking turns at each picture lets all pipelines see the same load of the machine. The first round is not measured.

    Args:
        pipelines: lists of transform configs by name; the ratios are to the first one's speed.
        dataset_cfg: config of a data set of mmdet, of which ``images`` pictures are taken evenly; its own pipeline does
            not matter. Of a wrapped set the innermost first one is taken.
        images: pictures in a round.
        rounds: measured rounds.

    Returns:
        A row for each pipeline: ``pipeline``, ``images_per_second`` (median over the rounds), ``low`` and ``high`` (its
        least and largest), ``ratio`` (median over the rounds).

    Raises:
        InputError: if a count is below 1, no pipeline is given, or the data set is missing or broken.
    """
    if images < 1 or rounds < 1:
        raise InputError(f'at least one image and one round are needed, but got images={images} and rounds={rounds}')
    if not pipelines:
        raise InputError('no pipeline to measure; give at least one')
    leaf = next(leaf_configs(dataset_cfg))
    check_annotations(leaf)
    dataset = DATASETS.build({'_scope_': 'mmdet', **leaf, 'pipeline': []})
    indices = np.linspace(0, len(dataset) - 1, images).astype(int).tolist()
    composed = {
        name: Compose([{'_scope_': 'mmdet', **step} for step in pipeline]) for name, pipeline in pipelines.items()
    }
    names = list(composed)
    seconds = np.zeros((rounds + 1, len(names)))
    with _one_thread():
        for i in range(rounds + 1):
            for j, index in enumerate(indices):
                # Each is first at some picture, where it finds the processor's caches cold.
                for k in (*range(j % len(names), len(names)), *range(j % len(names))):
                    info = dataset.get_data_info(index)
                    np.random.seed(i * images + j)
                    start = perf_counter()
                    composed[names[k]](info)
                    seconds[i, k] += perf_counter() - start
    speed = images / seconds[1:]
    return [
        dict(
            pipeline=name,
            images_per_second=float(np.median(speed[:, k])),
            low=float(speed[:, k].min()),
            high=float(speed[:, k].max()),
            ratio=float(np.median(speed[:, k] / speed[:, 0])),
        )
        for k, name in enumerate(names)
    ]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit OpenCV and torch to one thread, as in a worker of a data loader, and put numpy's generator back afterwards."""
    threads, state = (cv2.getNumThreads(), torch.get_num_threads()), np.random.get_state()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
        np.random.set_state(state)
