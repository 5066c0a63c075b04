"""MMDetection's and MMPretrain's own train.py, under a config of another project that inherits ours through ``::``."""

import os
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from menet_mm.checkpoints.finite import find_nonfinite

pytestmark = pytest.mark.slow  # whole command lines


@pytest.fixture(params=['mmdet', 'mmpretrain'])
def other(request, small_detector, small_classifier, tmp_path):
    """The library's train.py, and a function that writes a config for it."""
    script = Path(find_spec(request.param).origin).parent / '.mim/tools/train.py'
    write = dict(mmdet=small_detector, mmpretrain=small_classifier)[request.param]

    def config(more=''):
        path = write(tmp_path / 'small.py')
        inherited = r"_base_ = __import__('menet_mm') and 'menet_mm::menet/\1.py'"
        text = re.sub(r"^_base_ = '\S+/(\w+)\.py'$", inherited, path.read_text(), flags=re.MULTILINE)
        # mmengine adds the scope to steps that are taken out of such a base.
        text = text.replace('else step for', "else dict(step, _scope_='mmdet') for").replace(
            'scale=size)', "scale=size, _scope_='mmdet')"
        )
        path.write_text(f'{text}\n{more}\n')
        return path

    return script, config


def test_stopped_and_resumed_bit_for_bit(command, other, state, differences, tmp_path):
    script, config = other
    config = config("custom_hooks = [dict(type='EMAHook')]  # in place of the base's")
    command(script, config, '--work-dir', tmp_path / 'whole')
    started = command.start(script, config, '--work-dir', tmp_path / 'work')
    command.until(started, 'Epoch(train) [2][1/')
    os.kill(started[0], signal.SIGTERM)
    assert command.wait(started) == 128 + signal.SIGTERM
    assert list((tmp_path / 'work').glob('epoch_1_iter_*.pth'))
    (tmp_path / 'work/last_checkpoint').unlink()
    command(script, config, '--work-dir', tmp_path / 'work', '--resume')
    assert not differences(state(tmp_path / 'work/epoch_4.pth'), state(tmp_path / 'whole/epoch_4.pth'))
    said = command(script, config, '--work-dir', tmp_path / 'work', status=1)
    assert 'has epoch_4.pth of an earlier training' in said.splitlines()[-1]


def test_what_is_not_finite_is_not_saved(command, other, tmp_path):
    script, config = other
    said = command(
        script, config('optim_wrapper = dict(optimizer=dict(lr=1e20))'), '--work-dir', tmp_path / 'work', status=1
    )
    assert 'lower optim_wrapper.optimizer.lr' in said.splitlines()[-1]
    for path in (tmp_path / 'work').glob('[be]*.pth'):
        assert not find_nonfinite(torch.load(path, weights_only=False)['state_dict'])
