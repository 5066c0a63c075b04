"""Making a contestant's network, the function that torch runs, and the exported file that another runtime runs."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

import menet_mm
from benchmarks.contestant import Contestant
from benchmarks.machine import describe_machine
from menet_mm.deploy.forms import to_deploy
from menet_mm.deploy.functions import make_function
from menet_mm.deploy.pipeline import preprocess_steps
from menet_mm.deploy.runtimes import RUNTIMES
from menet_mm.engine.hooks.cpu_training import keep_memory, optimize_for_cpu
from menet_mm.errors import InputError
from menet_mm.utils.config import find_config

#: Libraries whose versions a measurement is stamped with.
LIBRARIES = ('torch', 'onnxruntime', 'openvino', 'ncnn', 'nncf', 'pytorchcv')


@cache
def load_config(network: str) -> Config:
    """Read the config of a network.

    Raises:
        InputError: if there is none.
    """
    return Config.fromfile(find_config(network))


def input_size(network: str) -> tuple[int, int]:
    """(h, w) of the pictures that a network takes."""
    return preprocess_steps(load_config(network))[1]


@cache
def count_mmacs(network: str) -> float:
    """Millions of multiply-adds of convolutions and linear layers for one picture, which is what the paper counts."""
    cfg = load_config(network)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model).eval()
    counter = FlopAnalyzer(model, torch.rand(1, 3, *input_size(network)))
    operators = counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return round((operators['conv'] + operators['linear']) / 1e6, 2)


def build_function(contestant: Contestant) -> nn.Module:
    """Build a contestant's network with random weights, in its form, as a function of one tensor (N, 3, h, w).

    Raises:
        InputError: if there is no such config, or pytorchcv does not have the network or is not installed.
    """
    torch.manual_seed(0)
    cfg = load_config(contestant.network)
    size = input_size(contestant.network)
    if contestant.source == 'pytorchcv':
        name = pytorchcv_name(cfg.model.backbone)
        if not find_spec('pytorchcv'):
            raise InputError('the rivals need pytorchcv: run `pip install pytorchcv`')
        from pytorchcv.model_provider import get_model

        return randomize(get_model(name), size)
    init_default_scope(cfg.default_scope)
    function = randomize(make_function(MODELS.build(cfg.model).eval(), size), size)
    if contestant.form in ('deploy', 'compiled') and not contestant.training:
        skip = [contestant.skip] if contestant.skip else []
        return make_function(to_deploy(function.model, contestant.runtime, skip=skip), size).eval()
    return function


def randomize(function: nn.Module, size: tuple[int, int]) -> nn.Module:
    """Give a network random weights with which it takes the time that it takes once it is trained.

    - Convolutions are initialized alike, and norm layers get the statistics of random pictures. With pytorchcv's own
      weights MENet's activations grow to hundreds, and exponentials in sigmoids become denormal numbers, for which some
      processors need far longer. With other statistics activations may shrink until all pictures have one result.
    - Every batch norm is shifted. Otherwise the folded convolutions have biases of zero, torch's exporter drops those, and
      ONNX Runtime does not add the residual within a convolution that has none: our form would seem slower than it is.

    Args:
        function: of one tensor (N, 3, h, w).
        size: (h, w).

    Returns:
        The same, in eval mode.
    """
    norms = [module for module in function.modules() if isinstance(module, nn.BatchNorm2d)]
    for module in function.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
    function.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        nn.init.normal_(norm.bias, std=0.1)
        norm.reset_running_stats()
        norm.momentum = None  # the average of all batches, of which there is one
        norm.train()
    with torch.no_grad():
        function(torch.rand(4, 3, *size))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return function.eval()


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
        raise InputError(f'pytorchcv has no {kind}: choose a MENet, ShuffleNet or MobileNet')
    return names[kind]()


def make_torch_step(contestant: Contestant) -> Callable[[], list[np.ndarray] | None]:
    """Make the function that a worker times, of a contestant that runs in torch."""
    torch.set_num_threads(contestant.threads)
    function = build_function(contestant)
    pictures = torch.rand(contestant.batch, 3, *input_size(contestant.network))
    if contestant.training:
        return _make_training_step(contestant, function, pictures)
    if contestant.form == 'compiled':
        # Frozen weights are folded and laid out for the processor when it compiles.
        function = torch.compile(function, options={'freezing': True})

    def step() -> list[np.ndarray]:
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=contestant.precision == 'bf16'):
            outputs = function(pictures)
        return [output.float().numpy() for output in ([outputs] if isinstance(outputs, Tensor) else outputs)]

    return step


def _make_training_step(contestant: Contestant, function: nn.Module, pictures: Tensor) -> Callable[[], None]:
    function.train().requires_grad_(True)
    form, skip = contestant.form, contestant.skip
    if form != 'plain' and skip != 'keep_memory':
        keep_memory()
    if form in ('default', 'channels_last'):
        optimize_for_cpu(
            function.model,
            products=skip != 'products',
            averages=skip != 'averages',
            channels_last=form == 'channels_last',
        )
    if form == 'compiled':
        function = torch.compile(function)
    labels = torch.randint(0, 100, (len(pictures),))  # of 1000 classes or 100
    optimizer = torch.optim.SGD(function.parameters(), 0.1, 0.9, weight_decay=4e-5, nesterov=True)

    def step() -> None:
        with torch.autocast('cpu', torch.bfloat16, enabled=contestant.precision == 'bf16'):
            loss = nn.functional.cross_entropy(function(pictures), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@cache
def fingerprint(network: str) -> str:
    """Tell apart all that an exported model depends on: the code, the config, the libraries, the processor."""
    found = hashlib.sha256(load_config(network).pretty_text.encode())
    package = Path(menet_mm.__file__).parent
    for path in sorted((*package.glob('models/**/*.py'), *package.glob('deploy/**/*.py'), Path(__file__))):
        found.update(path.read_bytes())
    stamp = {key: value for key, value in describe_machine(LIBRARIES).items() if key != 'date'}
    found.update(json.dumps(stamp).encode())
    return found.hexdigest()[:12]


def exported_path(contestant: Contestant, folder: Path) -> Path:
    """Where the exported model of a contestant lies."""
    runtime = RUNTIMES[contestant.runtime]
    parts = (
        find_config(contestant.network).stem,
        contestant.source,
        contestant.form,
        *([f'without_{contestant.skip}'] if contestant.skip else []),
        f'b{contestant.batch if runtime.dynamic_batch else 1}',
        *(['int8'] if contestant.precision == 'int8' else []),
        fingerprint(contestant.network),
    )
    # A folder for each runtime, since the weights of OpenVINO and ncnn would have one name.
    return folder / runtime.name / f'{"-".join(parts)}{runtime.suffix}'


def export_model(contestant: Contestant, folder: Path) -> Path:
    """Write a contestant's model into a folder, unless that was done before.

    Its batch has the contestant's size if its runtime takes batches.

    Raises:
        InputError: as :func:`build_function`, or if a package is missing.
    """
    path = exported_path(contestant, folder)
    if path.is_file():
        return path
    runtime = RUNTIMES[contestant.runtime]
    int8 = contestant.precision == 'int8'
    runtime.check(int8=int8)
    path.parent.mkdir(parents=True, exist_ok=True)
    function = build_function(contestant)
    pictures = torch.rand(contestant.batch if runtime.dynamic_batch else 1, 3, *input_size(contestant.network))
    # Another measurement may export the same model into this folder at the same time.
    with tempfile.TemporaryDirectory(dir=path.parent) as draft_folder:
        draft = Path(draft_folder) / f'draft{path.suffix}'
        if contestant.form == 'default' and runtime.name == 'onnxruntime':
            torch.onnx.export(function, (pictures,), draft, input_names=['image'], external_data=False, verbose=False)
        else:
            runtime.write(function, pictures, draft)
        if int8:
            generator = np.random.default_rng(0)
            runtime.quantize(draft, [generator.random(pictures.shape, np.float32) for _ in range(8)])
        # The model is found by its name, so it comes after its weights.
        for file in sorted(draft.parent.glob('draft.*'), key=lambda file: file.suffix == path.suffix):
            file.rename(path.with_suffix(file.suffix))
    return path
