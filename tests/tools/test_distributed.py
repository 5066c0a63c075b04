"""Two processes without a GPU."""

from pathlib import Path

import pytest
import torch

HOOK = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class SaveEachRank(Hook):
    def after_train(self, runner):
        torch.save(runner.model.module.state_dict(), f'{runner.work_dir}/rank{get_rank()}.pth')
"""


@pytest.mark.photographs
@pytest.mark.slow
def test_both_ranks_end_with_the_same_weights_and_buffers(tool, shapes, metric, tmp_path):
    (tmp_path / 'save_each_rank.py').write_text(HOOK)
    config = tmp_path / 'two_processes.py'
    config.write_text(
        "_base_ = __import__('os').environ['BASE']\n"
        "custom_imports = dict(imports=['save_each_rank'])\n"
        "custom_hooks = [*_base_.custom_hooks, dict(type='SaveEachRank')]\n"
    )
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=3',
        *(f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')),
        *(f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')),
        *(f'{split}_dataloader.dataset.data_root={shapes}' for split in ('train', 'val', 'test')),
    ]
    env = dict(BASE=str(Path('configs/ssd_menet228_shapes.py').absolute()), PYTHONPATH=str(tmp_path), PORT='29511')
    work_dir = tmp_path / 'work'
    log = tool('dist_train.sh', config, 2, '--work-dir', work_dir, '--auto-scale-lr', *options, **env).stdout
    assert 'Scaling the original LR by 0.75' in log  # from a batch of 8 to one of 2 x 3
    one, two = (torch.load(work_dir / f'rank{rank}.pth') for rank in (0, 1))
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
    saved = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']  # our own: holds a log, too
    assert all(torch.equal(saved[key], value) for key, value in one.items())

    again = tool('dist_test.sh', config, work_dir / 'epoch_1.pth', 2, '--work-dir', work_dir, *options, **env).stdout
    assert metric(again) == metric(log)
