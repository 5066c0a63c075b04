"""A small study that can be run, and small lists of ids for the subsets."""

from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]

STUDY = """
title = 'small'
metric = 'accuracy/top1'
seeds = [0]
reference = 'menet'
data = {data!r}
options = {{
    'model.head.num_classes': 2, 'data_preprocessor.num_classes': 2, 'model.head.topk': '(1,)',
    'train_cfg.max_epochs': 6, 'train_dataloader.batch_size': 4, 'train_dataloader.dataset.data_root': data,
    'val_dataloader.dataset.data_root': data, 'test_dataloader.dataset.data_root': data,
    'val_evaluator.topk': '(1,)', 'test_evaluator.topk': '(1,)',
}}
models = dict(
    menet=dict(config={config!r}),
    no_side_path=dict(config={config!r}, options={{'model.backbone.side_cfg': None}}),
)
"""


@pytest.fixture
def small_study(tmp_path) -> Path:
    """Path of the study's file; each model is trained for 6 epochs of 6 iterations."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for label in ('x', 'y'):
            folder = tmp_path / 'data' / split / label
            folder.mkdir(parents=True)
            for i in range(12):
                cv2.imwrite(f'{folder}/{i}.jpg', rng.integers(0, 255, (64, 64, 3), np.uint8))
    path = tmp_path / 'small.py'
    path.write_text(STUDY.format(data=str(tmp_path / 'data'), config=str(ROOT / 'configs/menet108_tiny100.py')))
    return path


@pytest.fixture
def lists(tmp_path) -> Path:
    """Lists of a few ids, in the form of those in studies/data."""
    folder = tmp_path / 'lists'
    (folder / 'voc_subset').mkdir(parents=True)
    (folder / 'tiny_imagenet_100.txt').write_text('n00000001 0 3\nn00000002 2\n')
    for name, ids in {
        'VOC2007_trainval': '000005\n000009\n',
        'VOC2007_test': '000001\n',
        'VOC2012_train': '2008_000009\n',
        'VOC2012_val': '2008_000001\n2008_000012\n',
    }.items():
        (folder / f'voc_subset/{name}.txt').write_text(ids)
    return folder
