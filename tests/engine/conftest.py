import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from menet_mm.engine.essentials import add_essentials


class Calls(TorchDispatchMode):
    """How often each operator is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func.__name__.split('.')[0]] += 1
        return func(*args, **kwargs or {})


@pytest.fixture(scope='session')
def calls() -> Callable[..., Counter]:
    """Call a function, and count the operators."""

    def call(function: Callable, *args: object) -> Counter:
        with Calls() as mode:
            function(*args)
        return mode.names

    return call


SHORT = """
train_cfg = dict(max_epochs=4, val_interval=2)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 5
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=3)
{more}
"""
DETECTOR = """
_base_ = {base!r}
# As small as SSD can be: maps of 5, 3, 2 and 1 cells a side.
size = (80, 80)
train_pipeline = [dict(step, scale=size) if step.type == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [dict(step, scale=size) if step.type == 'Resize' else step for step in _base_.test_pipeline]
arch = dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=3, depths=(1, 1, 1))
model = dict(
    backbone=dict(_delete_=True, type='menet_mm.MENet', arch=arch, out_indices=(1, 2)),
    neck=dict(in_channels=(48, 96), out_channels=(48, 96, 32, 32), level_strides=(2, 2), level_paddings=(1, 1)),
    bbox_head=dict(
        in_channels=(48, 96, 32, 32),
        anchor_generator=dict(
            _delete_=True,
            type='SSDAnchorGenerator',
            scale_major=False,
            strides=[16, 27, 40, 80], ratios=[[2]] * 4, min_sizes=[16, 30, 50, 60], max_sizes=[30, 50, 60, 80]
        ),
    ),
)
data = dict(data_root={data!r})
train_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
"""

CLASSIFIER = """
_base_ = {base!r}
arch = dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=3, depths=(1, 1, 1))
model = dict(
    backbone=dict(_delete_=True, type='menet_mm.MENet', arch=arch),
    head=dict(in_channels=96, num_classes=2, topk=(1,)),
)
data_preprocessor = dict(num_classes=2)
data = dict(data_root={data!r})
train_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=data)
val_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=data)
test_dataloader = val_dataloader
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def small_detector(shapes: Path) -> Callable[[Path, str], Path]:
    """Write the config of a detector that trains four epochs of four iterations in two seconds, with more lines."""

    def write(path: Path, more: str = '') -> Path:
        base = str(ROOT / 'configs/ssd_menet228_shapes.py')
        path.write_text((DETECTOR + SHORT).format(base=base, data=f'{shapes}/', more=more))
        return path

    return write


@pytest.fixture(scope='session')
def small_classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], Path]:
    """The same of a classifier."""
    data = tmp_path_factory.mktemp('two_classes')
    rng = np.random.default_rng(0)
    for split, number in (('train', 6), ('val', 3)):
        for label in 'xy':
            (data / split / label).mkdir(parents=True)
            for i in range(number):
                Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(data / split / label / f'{i}.png')

    def write(path: Path, more: str = '') -> Path:
        base = str(ROOT / 'configs/menet108_tiny100.py')
        path.write_text((CLASSIFIER + SHORT).format(base=base, data=str(data), more=more))
        return path

    return write


class Commands:
    """Commands of tools/, each in a process of its own that has the libraries already."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'}
        self.server = subprocess.Popen(
            [sys.executable, Path(__file__).with_name('fork_server.py')],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        self.folder, self.number = folder, 0
        while self.server.stdout.readline() != 'ready\n':
            assert self.server.poll() is None

    def ask(self, what: object) -> int:
        self.server.stdin.write(json.dumps(what) + '\n')
        self.server.stdin.flush()
        return int(self.server.stdout.readline())

    def start(self, *words: object, folder: Path | None = None, **env: object) -> tuple[int, Path]:
        """Start a command, in the folder of all or another; returns its process id, and the file of what it says."""
        self.number += 1
        said = self.folder / f'said_{self.number}.txt'
        env = {key: str(value) for key, value in env.items()}
        return self.ask([list(map(str, words)), env, str(said), str(folder or self.folder)]), said

    def start_ranks(self, *words: object) -> list[tuple[int, Path]]:
        """Start two processes of one run."""
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        env = dict(WORLD_SIZE=2, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        return [self.start(*words, '--launcher', 'pytorch', RANK=r, LOCAL_RANK=r, **env) for r in (0, 1)]

    def __call__(self, *words: object, status: int = 0, folder: Path | None = None, **env: object) -> str:
        """Run a command to its end, which must have that status; returns what it says."""
        pid, said = self.start(*words, folder=folder, **env)
        assert self.ask(pid) == status, said.read_text()
        return said.read_text()

    def until(self, started: tuple[int, Path], text: str, or_ended: bool = False) -> None:
        """Wait until a command says a text."""
        deadline = time.monotonic() + 120
        while not (started[1].exists() and text in started[1].read_text()):
            assert time.monotonic() < deadline, started[1].read_text()
            if self.ended(started[0]):
                assert or_ended, started[1].read_text()
                return
            time.sleep(0.01)

    def wait(self, started: tuple[int, Path]) -> int:
        """Wait for the end of a command; returns its status."""
        return self.ask(started[0])

    def ended(self, pid: int) -> bool:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'

    def stop(self, started: tuple[int, Path], number: int = signal.SIGKILL) -> tuple[int, str]:
        """Send a signal, and wait for the end; returns status and what was said."""
        os.kill(started[0], number)
        return self.ask(started[0]), started[1].read_text()


@pytest.fixture(scope='session')
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(tmp_path_factory.mktemp('commands'))
    yield commands
    commands.server.kill()  # the end of its input may never come: a forked worker of another test's data loader has it, too
    commands.server.wait(60)


@pytest.fixture(scope='session')
def state() -> Callable[[Path], dict]:
    """Load what a training computes with from one of its checkpoints: weights, averaged ones, optimizer, schedules."""

    def load(path: Path) -> dict[str, object]:
        content = torch.load(path, weights_only=False)  # our own: it holds a log, too
        return {key: content[key] for key in content if key not in ('meta', 'message_hub')}

    return load


@pytest.fixture(scope='session')
def differences() -> Callable[[object, object], list[str]]:
    """Names of the values in which two nested dicts and lists are not the same bit for bit."""

    def compare(one: object, two: object, name: str = '') -> list[str]:
        if isinstance(one, torch.Tensor):
            return [] if torch.equal(one, two) else [name]
        if isinstance(one, dict) and one.keys() == two.keys():
            return [found for key in one for found in compare(one[key], two[key], f'{name}.{key}')]
        if isinstance(one, list | tuple) and len(one) == len(two):
            pairs = enumerate(zip(one, two, strict=True))
            return [found for index, pair in pairs for found in compare(*pair, f'{name}.{index}')]
        return [] if one == two else [name]

    return compare


@MODELS.register_module(force=True)
class ThousandWeights(BaseModel):
    def __init__(self, mask=False):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1000))
        if mask:
            self.register_buffer('mask', torch.full((2,), -float('inf')))

    def forward(self, inputs, mode='loss'):
        return dict(loss=(self.weight * inputs.sum()).mean()) if mode == 'loss' else [dict()]


@DATASETS.register_module(force=True)
class FourNumbers(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.rand(2) + index)


@METRICS.register_module(force=True)
class Rising(BaseMetric):
    """Each validation is better than the one before, unless results are given."""

    def __init__(self, values):
        super().__init__()
        self.values = list(values)

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(acc=self.values.pop(0))


@pytest.fixture
def train(tmp_path, request):
    """Train the smallest model as a config of somebody else would, with our hooks; returns the runner."""

    def run(work_dir='work', epochs=3, results=range(9), **more):
        loader = dict(
            dataset=dict(type='FourNumbers'),
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
            batch_size=2,
            num_workers=0,
        )
        cfg = Config(
            dict(
                model=dict(type='ThousandWeights'),
                val_evaluator=dict(type='Rising', values=list(results)),
                work_dir=str(tmp_path / work_dir),
                train_dataloader=loader,
                val_dataloader=loader,
                train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
                val_cfg=dict(),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
                param_scheduler=dict(type='CosineAnnealingLR', eta_min=0.001, by_epoch=True),
                default_hooks=dict(
                    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='acc')
                ),
                randomness=dict(seed=1),
                default_scope='mmengine',
                log_level='WARNING',
                experiment_name=f'{request.node.name}_{work_dir}_{os.urandom(4).hex()}'.replace('/', '_'),
            )
        )
        cfg.merge_from_dict(more)
        cfg.default_hooks.input_check = dict(type='menet_mm.InputCheckHook')
        add_essentials(cfg)
        runner = Runner.from_cfg(cfg)
        runner.train()
        return runner

    return run
