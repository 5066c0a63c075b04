"""The main job on real photographs: 126 + 56 of VOC 2007 in MENET_MM_SHARED, with the configs as they stand."""

import pytest


@pytest.mark.photographs
@pytest.mark.slow
@pytest.mark.parametrize(
    ('config', 'fewer'),
    [
        ('ssd_menet228_voc', []),
        # A picture takes seconds on a CPU at 1000 x 600 px.
        (
            'faster_rcnn_menet228_voc',
            [
                'train_dataloader.dataset.indices=16',
                'val_dataloader.dataset.indices=6',
                'test_dataloader.dataset.indices=6',
            ],
        ),
    ],
)
def test_real_photographs(tool, metric, voc_root, tmp_path, config, fewer):
    roots = [f'{split}_dataloader.dataset.data_root={voc_root}' for split in ('train', 'val', 'test')]
    path = f'configs/{config}.py'

    def options(epochs: int) -> list[str]:
        return ['--work-dir', str(tmp_path), '--cfg-options', f'train_cfg.max_epochs={epochs}', *roots, *fewer]

    log = tool('train.py', path, *options(1)).stdout
    assert 'Epoch(train) [1][' in log
    log = tool('train.py', path, '--resume', *options(2)).stdout
    assert 'resumed epoch: 1' in log
    assert 'Epoch(train) [2][' in log
    again = tool('test.py', path, tmp_path / 'epoch_2.pth', '--show-dir', 'drawn', *options(2)).stdout
    assert metric(again) == metric(log)
    assert len(list(tmp_path.glob('*/drawn/*.jpg'))) == (6 if fewer else 56)
