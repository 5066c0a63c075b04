"""A training that began on one stack of docs/install.md goes on on the other."""

from pathlib import Path

import pytest
import torch

from menet_mm.checkpoints import read_checkpoint

STACKS = Path(__file__).parent / 'stacks'


@pytest.mark.parametrize('stack', ['onedl', 'openmmlab'])
def test_a_checkpoint_of_either_stack_is_read_and_resumed(tool, shared, tmp_path, stack):
    checkpoint = STACKS / f'{stack}.pth'
    before = read_checkpoint(checkpoint)
    assert {'state_dict', 'optimizer', 'param_schedulers', 'message_hub'} <= before.keys()
    settings = dict(
        data_root=f'{shared}/data/ilsvrc_sample', ann_file='val.txt', data_prefix='images', split='', indices=8
    )
    options = [f'train_dataloader.dataset.{key}={value}' for key, value in settings.items()]
    loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
    options += [f'train_dataloader.{key}={value}' for key, value in loader.items()] + ['train_cfg.max_epochs=2']
    log = tool(
        'train.py', STACKS / 'tiny_in1k.py', '--work-dir', tmp_path, '--no-validate', '--resume', checkpoint,
        '--cfg-options', *options,
    ).stdout  # fmt: skip
    assert 'resumed epoch: 1' in log
    after = read_checkpoint(tmp_path / 'epoch_2.pth')
    assert after['meta']['iter'] == 4
    assert before['state_dict'].keys() == after['state_dict'].keys()
    assert not torch.equal(before['state_dict']['head.fc.weight'], after['state_dict']['head.fc.weight'])
