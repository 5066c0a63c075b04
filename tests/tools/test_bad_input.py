"""Wrong input ends in one clear sentence and a non-zero status, whatever was wrong."""

import shutil
from pathlib import Path

import pytest
import torch

SSD = 'configs/ssd_menet228_shapes.py'


def data(root: Path, *more: str) -> list[str]:
    loaders = [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')]
    return ['--cfg-options', 'train_dataloader.batch_size=4', *loaders, *more]


def sentence(result) -> str:
    """The last line, which must be the only word of the mistake."""
    assert 'Traceback' not in result.stdout, result.stdout
    *_, last = result.stdout.strip().splitlines()
    assert last.startswith('error: '), result.stdout
    return last


@pytest.fixture
def copy(shapes, tmp_path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / 'set'))


@pytest.mark.parametrize(
    ('command', 'config'), [('train.py', 'ssd_menet228_voc'), ('test.py', 'faster_rcnn_menet228_voc')]
)
def test_no_data_set(tool, command, config, tmp_path):
    checkpoint = tmp_path / 'x.pth'
    torch.save({}, checkpoint)
    arguments = [f'configs/{config}.py', *([checkpoint] if command == 'test.py' else [])]
    said = sentence(tool(command, *arguments, *data(tmp_path / 'nowhere'), ok=False))
    assert 'python tools/download_voc.py' in said
    assert str(tmp_path / 'nowhere') in said


def test_no_ilsvrc(tool, tmp_path):
    said = sentence(tool('train.py', 'configs/menet108_in1k.py', *data(tmp_path / 'nowhere'), ok=False))
    assert 'docs/training.md' in said


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('model.backbone.arch=228', "unknown arch '228'"),
        (
            'model.bbox_head.num_classes=20',
            'has 4 classes (circle, square, triangle, star) but model.bbox_head.num_classes is 20',
        ),
        ('train_dataloader.batch_size=64', '12 pictures but a batch takes 64'),
        ('train_dataloader.dataset.metainfo.classes="(\'Star\',)"', 'Star; it has circle'),
    ],
)
def test_config_that_cannot_work(tool, shapes, option, expected):
    assert expected in sentence(tool('train.py', SSD, *data(shapes, option), ok=False))


def test_channels_that_groups_do_not_divide(tool, shapes, tmp_path):
    arch = 'dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=5, depths=(1, 1, 1))'
    config = tmp_path / 'groups.py'
    config.write_text(
        f"_base_ = '{Path(SSD).absolute()}'\nmodel = dict(backbone=dict(_delete_=True, type='menet_mm.MENet', arch={arch}))\n"
    )
    assert 'divisible by 4 * groups' in sentence(tool('train.py', config, *data(shapes), ok=False))


def test_corrupt_image(tool, copy):
    path = copy / 'VOC2007/JPEGImages/trainval_00005.jpg'
    path.write_bytes(path.read_bytes()[:900])
    assert str(path) in sentence(tool('train.py', SSD, *data(copy), ok=False))


def test_corrupt_xml(tool, copy):
    path = copy / 'VOC2007/Annotations/test_00002.xml'
    path.write_text('<annotation>')
    assert str(path) in sentence(tool('train.py', SSD, *data(copy), ok=False))


def test_checkpoint_of_another_network(tool, shapes, tmp_path):
    from mmengine.config import Config
    from mmpretrain.registry import MODELS

    model = MODELS.build(Config.fromfile('configs/menet108_in1k.py').model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'menet108.pth')
    said = sentence(tool('test.py', SSD, tmp_path / 'menet108.pth', '--work-dir', tmp_path, *data(shapes), ok=False))
    assert 'the checkpoint is of another network' in said
    assert 'instead of' in said


def test_files_that_are_not_there(tool, shapes, tmp_path):
    said = sentence(tool('train.py', 'configs/none.py', ok=False))
    assert 'no config ' in said
    assert 'configs/none.py' in said
    said = sentence(tool('test.py', SSD, tmp_path / 'none.pth', *data(shapes), ok=False))
    assert f'no checkpoint {tmp_path}/none.pth' in said
    said = sentence(tool('train.py', SSD, '--resume', tmp_path / 'none.pth', *data(shapes), ok=False))
    assert f'no checkpoint {tmp_path}/none.pth' in said


@pytest.mark.skipif(torch.cuda.is_available(), reason='says what happens without a GPU')
def test_amp_without_a_gpu(tool, shapes):
    assert '--amp needs a GPU' in sentence(tool('train.py', SSD, '--amp', *data(shapes), ok=False))


def test_out_must_be_a_pickle(tool, shapes, tmp_path):
    assert 'must end in .pkl' in sentence(tool('test.py', SSD, tmp_path, '--out', 'x.json', *data(shapes), ok=False))


def test_metrics_must_have_an_ending_that_can_be_written(tool, tmp_path):
    """Said before the checkpoint is looked for, let alone after the test."""
    said = sentence(tool('test.py', SSD, tmp_path / 'none.pth', '--out', 'x.txt', '--out-item', 'metrics', ok=False))
    assert '--out x.txt must end in .pkl, or with --out-item metrics in .json' in said
