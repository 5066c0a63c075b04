"""Signals and failures in the middle of a training: it saves, and says what happened and how to go on."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from menet_mm.datasets.draws import Draws

pytestmark = pytest.mark.slow  # whole command lines

LONG = "train_cfg['max_epochs'] = 9"
WORKERS = LONG + '\ntrain_dataloader.update(num_workers=2)\n'


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_saves_within_the_iteration(command, small_classifier, tmp_path, number):
    words = ('train.py', small_classifier(tmp_path / 'small.py', WORKERS), '--work-dir', tmp_path / 'work')
    started = command.start(*words, '--verbose')
    command.until(started, 'Epoch(train) [2][1/')
    os.killpg(started[0], number)  # as Ctrl-C and clusters do, so that workers get it, too
    status, said = command.wait(started), started[1].read_text()
    assert status == 128 + number
    line = said.splitlines()[-1]
    saved = re.fullmatch(
        rf'stopped by {number.name} after iteration (\d+), saved as (\S+); go on with the same command and --resume',
        line,
    )
    assert saved, said
    assert Path(saved[2]).name == f'epoch_{(int(saved[1]) - 1) // 4}_iter_{saved[1]}.pth'
    assert torch.load(saved[2], weights_only=False)['meta']['iter'] == int(saved[1])
    assert 'Traceback' not in said


def test_a_second_ctrl_c_leaves_at_once(command, small_classifier, tmp_path):
    """The first one waits for the iteration, which takes a minute here."""
    slow = """
def slow():
    import time
    from mmengine.registry import HOOKS
    from mmengine.hooks import Hook

    @HOOKS.register_module(force=True)
    class SlowHook(Hook):
        def before_train_iter(self, runner, *_, **__):
            print('waiting', flush=True)
            for _ in range(600):
                time.sleep(0.1)

slow()
custom_hooks = [dict(type='SlowHook')]
"""
    started = command.start('train.py', small_classifier(tmp_path / 'small.py', slow), '--work-dir', tmp_path / 'work')
    command.until(started, 'waiting')
    begun = time.monotonic()
    os.kill(started[0], signal.SIGINT)
    time.sleep(0.5)
    assert not command.ended(started[0])
    os.kill(started[0], signal.SIGINT)
    assert command.wait(started) == 130
    assert time.monotonic() - begun < 30


def test_a_stop_in_a_validation_repeats_the_validation_alone(command, small_classifier, tmp_path):
    slow = """
def slow():
    import os, signal
    from mmengine.registry import HOOKS
    from mmengine.hooks import Hook

    @HOOKS.register_module(force=True)
    class StopHook(Hook):
        def before_val_iter(self, runner, *_, **__):
            if runner.epoch == 4 and 'STOP' in os.environ:
                os.kill(os.getpid(), signal.SIGTERM)

slow()
custom_hooks = [dict(type='StopHook')]
"""
    config = small_classifier(tmp_path / 'small.py', slow)
    words = ('train.py', config, '--work-dir', tmp_path / 'work')
    said = command(*words, status=128 + signal.SIGTERM, STOP=1)
    assert 'stopped by SIGTERM in the validation after epoch 4' in said.splitlines()[-1]
    assert 'Epoch(val) [4][2/2]' not in said
    said = command(*words, '--resume')
    assert 'Epoch(val) [4][2/2]' in said
    assert 'Epoch(train)' not in said


def test_saving_every_few_minutes(command, small_classifier, tmp_path):
    """The one within an epoch is replaced by the next."""
    config = small_classifier(tmp_path / 'small.py', LONG)
    words = ('train.py', config, '--work-dir', tmp_path / 'work', '--checkpoint-minutes', 0.0001)
    started = command.start(*words, '--verbose')
    command.until(started, 'Epoch(train) [2][3/')
    command.stop(started)
    within = [path.name for path in (tmp_path / 'work').glob('epoch_*_iter_*.pth')]
    assert len(within) <= 1 + len(list((tmp_path / 'work').glob('epoch_?.pth')))
    assert (tmp_path / 'work/last_checkpoint').read_text().startswith('epoch_')
    assert re.search(
        r'Resuming from \S+/epoch_\d+_iter_\d+.pth',
        command(*words[:-2], '--resume', '--cfg-options', 'train_cfg.max_epochs=2'),
    )


def test_a_picture_that_breaks_a_worker_is_named(command, small_classifier, tmp_path):
    poison = """
def poison():
    from mmengine.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class Poison:
        def __call__(self, results):
            if results['img_path'].endswith('x/3.png'):
                {what}
            return results

poison()
pipeline = _base_.train_pipeline
train_dataloader['num_workers'] = {workers}
train_dataloader['dataset'] = dict(pipeline=[pipeline[0], dict(type='Poison'), *pipeline[1:]], **data)
"""
    kill = "__import__('os').kill(__import__('os').getpid(), 9)"
    for what, workers, expected in (
        ("raise ValueError('no such colour')", 2, r'picture \S+/x/3.png cannot be loaded \(no such colour\)'),
        ("raise ValueError('no such colour')", 0, r'picture \S+/x/3.png cannot be loaded \(no such colour\)'),
        (kill, 2, r'a worker of the data loader was killed while it loaded picture \S+/x/3.png'),
    ):
        config = small_classifier(tmp_path / f'small_{workers}.py', poison.format(what=what, workers=workers))
        said = command('train.py', config, '--work-dir', tmp_path / 'work', status=1)
        assert re.match(f'error: {expected}', said.splitlines()[-1]), said
        # Not 'Traceback': a worker that is ended while it hands over a tensor may print one of multiprocessing's.
        assert not re.search(r'File "\S+/tools/train.py"', said), said


class Hooked(Dataset):
    """Its items call what multiprocessing's threads call with their exceptions; the second is a fault of somebody's code."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        error = (ConnectionResetError('cut off'), ValueError('a fault'))[index]
        sys.excepthook(type(error), error, None)
        return index


def test_workers_say_faults_but_not_that_they_are_cut_off(capfd):
    dataset = Hooked()
    dataset.__getitems__ = Draws(dataset, 1)
    assert list(DataLoader(dataset, batch_size=1, num_workers=1)) == [0, 1]
    said = capfd.readouterr().err
    assert 'cut off' not in said
    assert 'a fault' in said
