"""The hook that makes training on a CPU faster, in runs and in configs."""

import multiprocessing
import os
import platform
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmcv.ops import RoIAlign
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from menet_mm import InputError
from menet_mm.engine.hooks.cpu_training import CPUTrainingHook, keep_memory, optimize_for_cpu


class Model(BaseModel):
    """A pointwise backbone, which notes the memory format of its latest images."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AvgPool2d(3, stride=2, padding=1), nn.BatchNorm2d(4))
        self.backbone.register_forward_hook(self.note)

    def note(self, module, args, out):
        self.channels_last = args[0].is_contiguous(memory_format=torch.channels_last)

    def forward(self, inputs, mode='tensor'):
        y = self.backbone(inputs)
        return dict(loss=y.square().mean()) if mode == 'loss' else [y]


def kinds(model):
    return [type(module) for module in model.modules()]


def test_a_run_trains_with_products_and_leaves_the_model_as_it_was(calls, tmp_path):
    model = Model()
    loader = dict(
        dataset=[dict(inputs=torch.rand(3, 8, 8))] * 2,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        batch_size=2,
    )
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[dict(type='menet_mm.CPUTrainingHook', keep_memory=False), dict(type='EMAHook')],
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=Evaluator([]),
        default_scope='mmengine',
        experiment_name=tmp_path.name,
    )
    assert calls(runner.train)['bmm']
    assert kinds(model) == kinds(Model())
    assert not calls(runner.test)['bmm']


@pytest.mark.parametrize('wrap', [lambda model: model, nn.DataParallel], ids=['alone', 'wrapped'])
@pytest.mark.parametrize('channels_last', [False, True])
def test_options_reach_the_backbone_until_training_ends(calls, wrap, channels_last):
    model, image = Model(), torch.rand(2, 3, 8, 8)
    runner = SimpleNamespace(model=wrap(model))
    before = model(image)
    hook = CPUTrainingHook(keep_memory=False, channels_last=channels_last)
    hook.before_train(runner)
    torch.testing.assert_close(model(image), before)
    assert (model.channels_last, calls(model, image)['bmm']) == ((True, 0) if channels_last else (False, 1))
    hook.after_train(runner)
    assert (calls(model, image)['bmm'], model.channels_last) == (0, False)


def test_another_device_is_left_alone():
    model = Model().to('meta')
    CPUTrainingHook(channels_last=True).before_train(SimpleNamespace(model=model))
    model(torch.rand(2, 3, 8, 8, device='meta'))
    assert not model.channels_last
    assert kinds(model) == kinds(Model())


def test_channels_last_needs_a_backbone():
    with pytest.raises(InputError, match='Conv2d lacks: set channels_last=False'):
        optimize_for_cpu(nn.Conv2d(3, 4, 1), channels_last=True)


def test_mmcvs_operators_get_the_format_that_they_know():
    """RoIAlign reads the memory of a channels_last map as if it had the default format."""

    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Conv2d(3, 4, 3)
            self.pool = RoIAlign((2, 2))

        def forward(self, x):
            return self.pool(self.backbone(x), torch.tensor([[0.0, 1.0, 1.0, 5.0, 5.0]]))

    model, image = Detector(), torch.rand(1, 3, 9, 9)
    expected = model(image)
    optimize_for_cpu(model, channels_last=True)
    torch.testing.assert_close(model(image), expected)


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def freed(queue, keep: bool) -> None:
    """Tell how many bytes of a freed block of 64 MiB go back to the kernel."""
    if keep:
        keep_memory()
    block = np.empty(2**27)  # 1 GiB, which finds no place in memory that earlier tests left free
    block[: 2**23] = 1
    before = resident()
    del block
    queue.put(before - resident())


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='it is a setting of glibc')
@pytest.mark.parametrize('keep', [False, True])
def test_freed_memory_stays_with_the_process(keep):
    context = multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    child = context.Process(target=freed, args=(queue, keep))
    child.start()
    child.join()
    assert (queue.get() < 2**20) == keep


@pytest.mark.parametrize(
    ('name', 'channels_last'), [('menet108_tiny100', True), ('menet228_in1k', False), ('ssd_menet228_voc', False)]
)
def test_configs_name_the_hook_once(name, channels_last):
    cfg = Config.fromfile(f'configs/{name}.py')
    hooks = [HOOKS.build(hook) for hook in cfg.custom_hooks if hook.type.startswith('menet_mm.')]
    (hook,) = [hook for hook in hooks if isinstance(hook, CPUTrainingHook)]
    assert hook.keep_memory
    assert hook.options == dict(products=True, averages=True, channels_last=channels_last)
