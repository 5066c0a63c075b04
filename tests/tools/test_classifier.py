"""Train, evaluate and report a classifier through the command lines, on real ILSVRC images."""

import json

import pandas as pd
import pytest

CONFIG = 'configs/menet108_in1k.py'


def options(shared) -> list[str]:
    loaders = ('train', 'val', 'test')
    return [
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=16',
        *(f'{split}_dataloader.num_workers=1' for split in loaders),
        *(f'{split}_dataloader.dataset.data_root={shared}/data/ilsvrc_sample' for split in loaders),
        *(f'{split}_dataloader.dataset.ann_file=val.txt' for split in loaders),
        *(f'{split}_dataloader.dataset.data_prefix=images' for split in loaders),
        *(f'{split}_dataloader.dataset.split=' for split in loaders),
        *(f'{split}_dataloader.dataset.indices=32' for split in loaders),
    ]


def test_classifier_trains_and_evaluates(tool, tool_here, shared, metric, tmp_path):
    log = tool('train.py', CONFIG, '--work-dir', tmp_path, *options(shared)).stdout
    metrics, drawn = tmp_path / 'metrics.json', ('--show-dir', tmp_path / 'drawn', '--interval', 8)
    arguments = (CONFIG, tmp_path / 'epoch_1.pth', '--work-dir', tmp_path)
    again = tool('test.py', *arguments, '--out', metrics, '--out-item', 'metrics', *drawn, *options(shared)).stdout
    assert metric(again, 'accuracy/top5') == metric(log, 'accuracy/top5')
    assert json.loads(metrics.read_text())['accuracy/top5'] == metric(log, 'accuracy/top5')
    assert len(list((tmp_path / 'drawn').iterdir())) == 4
    out = tmp_path / 'predictions.pkl'
    averaged = tool('test.py', *arguments, '--tta', '--out', out, *options(shared)).stdout
    tool_here('report.py', CONFIG, out, '--work-dir', tmp_path, *options(shared))
    last = pd.read_csv(tmp_path / 'report/accuracy_by_class.csv').iloc[-1]
    assert (last.pictures, last.top5) == (32, pytest.approx(metric(averaged, 'accuracy/top5'), abs=1e-4))
    assert last.accuracy == pytest.approx(metric(averaged, 'accuracy/top1'), abs=1e-4)
    both = tool('test.py', *arguments, '--tta', *drawn, *options(shared), ok=False).stdout
    assert both.strip().splitlines()[-1].startswith('error: --tta cannot draw')


def test_plugin_in_resnet_50_trains_as_a_classifier(tool, shared, tmp_path):
    small = [*options(shared), 'train_dataloader.dataset.indices=2', 'train_dataloader.batch_size=2']
    log = tool('train.py', 'configs/r50_meplugin_in1k.py', '--no-validate', '--work-dir', tmp_path, *small).stdout
    assert 'Epoch(train) [1][1/1]' in log
