"""Anchors through the command line: its lines, pasted into a config, train."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from menet_mm.datasets.shapes import make_shapes

CONFIG = 'configs/ssd_menet228_shapes.py'


@pytest.fixture(scope='module')
def options(tmp_path_factory) -> list[str]:
    root = make_shapes(tmp_path_factory.mktemp('data') / 'shapes', train=60, test=8)
    return ['--cfg-options', *(f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test'))]


@pytest.mark.slow
def test_the_lines_train(tool, tool_here, options, tmp_path):
    # Anchors that find nothing.
    misfit = (
        'model.bbox_head.anchor_generator.min_sizes=[2,2,2,2,2,2]',
        'model.bbox_head.anchor_generator.max_sizes=[3,3,3,3,3,3]',
    )
    said = tool_here('fit_anchors.py', CONFIG, *options, *misfit)
    shares = re.findall(r'([\d.]+)% of \d+ before, ([\d.]+)% with', said)
    assert len(shares) == 2
    assert all(float(before) == 100 and float(after) < 50 for before, after in shares)

    (tmp_path / 'fitted.py').write_text(f"_base_ = '{Path(CONFIG).resolve()}'\n{said}")
    assert Config.fromfile(tmp_path / 'fitted.py').model.bbox_head.anchor_generator.type == 'YOLOAnchorGenerator'
    once = ('train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    log = tool('train.py', tmp_path / 'fitted.py', '--work-dir', tmp_path / 'work', *options, *once).stdout
    assert 'pascal_voc/mAP' in log
    assert 'picture by picture' not in log
    state = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in state.values())


def test_a_classifier_is_one_sentence(tool_here):
    with pytest.raises(SystemExit, match='error: .*menet108_in1k.py is not a detector'):
        tool_here('fit_anchors.py', 'configs/menet108_in1k.py')


def test_no_data_is_one_sentence(tool_here, tmp_path):
    nowhere = f'train_dataloader.dataset.data_root={tmp_path}/nowhere'
    with pytest.raises(SystemExit, match='error: .*nowhere'):
        tool_here('fit_anchors.py', CONFIG, '--cfg-options', nowhere)
