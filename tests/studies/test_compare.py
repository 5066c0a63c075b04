"""A study through the command line: run, interrupted, gone on with, and reported again."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def study(tmp_path) -> Path:
    """Two networks on a few random pictures of two classes."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in ('x', 'y'):
            folder = tmp_path / 'data' / split / label
            folder.mkdir(parents=True)
            for i in range(12):
                cv2.imwrite(f'{folder}/{i}.jpg', rng.integers(0, 255, (64, 64, 3), np.uint8))
    path = tmp_path / 'small.py'
    path.write_text(f"""
title = 'small'
metric = 'accuracy/top1'
seeds = [0]
reference = 'menet'
options = {{
    'model.head.num_classes': 2, 'data_preprocessor.num_classes': 2, 'train_cfg.max_epochs': 6, 'train_dataloader.batch_size': 4, 'model.head.topk': '(1,)',
    'train_dataloader.dataset.data_root': {str(tmp_path / 'data')!r},
    'val_dataloader.dataset.data_root': {str(tmp_path / 'data')!r},
    'test_dataloader.dataset.data_root': {str(tmp_path / 'data')!r},
    'val_evaluator.topk': '(1,)', 'test_evaluator.topk': '(1,)',
}}
models = dict(
    menet=dict(config={str(ROOT / 'configs/menet108_tiny100.py')!r}),
    no_side_path=dict(config={str(ROOT / 'configs/menet108_tiny100.py')!r}, options={{'model.backbone.side_cfg': None}}),
)
""")
    return path


@pytest.mark.slow
@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_study_goes_on(study, tmp_path, end):
    command = [sys.executable, '-m', 'studies', study, '--results', tmp_path / 'results']
    command += ['--work-dir', tmp_path / 'work', '--jobs', '2', '--threads', '1']
    first = tmp_path / 'work/small/menet_seed0'
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.time() + 300
    while not (first / 'last_checkpoint').is_file():
        assert time.time() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(end)
    process.communicate(timeout=120)
    epochs = int(re.search(r'epoch_(\d+)', (first / 'last_checkpoint').read_text())[1])

    for models, names in ((['--models', 'menet'], ['menet']), ([], ['menet', 'no_side_path'])):
        done = subprocess.run([*command, *models], capture_output=True, text=True, env={**os.environ, 'COLUMNS': '200'})
        assert done.returncode == 0, done.stdout + done.stderr
        assert pd.read_csv(tmp_path / 'results/small.csv').model.tolist() == names
    # Whole epochs are not trained again; the one that was under way may have ended while the runner was.
    resumed = int(re.search(r'resumed epoch: (\d+)', (first / 'output.log').read_text())[1])
    assert resumed >= epochs
    rows = pd.read_csv(tmp_path / 'results/small.csv').set_index('model')
    assert rows.index.tolist() == ['menet', 'no_side_path']
    assert rows.parameters['menet'] - rows.parameters['no_side_path'] == 654_516 - 627_292
    assert rows.epochs.tolist() == [6, 6]
    assert {'seed', 'torch', 'device', 'threads', 'mmpretrain'} <= set(rows.columns)
    assert (tmp_path / 'results/small.png').is_file()
    assert '| no_side_path | 1 |' in (tmp_path / 'results/small.md').read_text()

    before = (tmp_path / 'results/small.csv').read_bytes()
    (tmp_path / 'results/small.md').unlink()
    for arguments in ([], ['--report-only']):
        again = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert (tmp_path / 'results/small.csv').read_bytes() == before
        assert (tmp_path / 'results/small.md').is_file()


def test_wrong_arguments_are_explained(tool, study, tmp_path):
    results = ('--results', tmp_path / 'results')
    assert 'error: no study' in tool('studies', tmp_path / 'none.py', ok=False).stdout
    assert 'has no results: run' in tool('studies', study, *results, '--report-only', ok=False).stdout
    assert '--jobs, --threads and --limit must be at least 1' in tool('studies', study, '--jobs', 0, ok=False).stdout
    unknown = tool('studies', study, '--models', 'menet', 'other', ok=False).stdout
    assert "has no model 'other': choose of menet, no_side_path" in unknown
