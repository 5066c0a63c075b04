"""Wrong input ends in one clear sentence and a non-zero status, whatever was wrong.

The command lines run in this process, which has the libraries already.
"""

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import torch

from menet_mm.checkpoints import tensors_only

ROOT = Path(__file__).resolve().parent.parent.parent
SSD = ROOT / 'configs/ssd_menet228_shapes.py'


def data(root: Path, *more: str) -> list[str]:
    loaders = [f'{split}_dataloader.dataset.data_root={root}' for split in ('train', 'val', 'test')]
    return ['--cfg-options', 'train_dataloader.batch_size=4', *loaders, *more]


@pytest.fixture
def refused(monkeypatch, tmp_path):
    """Call a command that must end in one sentence, which is returned; any other exception fails the test."""

    def call(command: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, 'argv', [command, *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        with tensors_only(), pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools' / command), run_name='__main__')
        said = ended.value.code
        assert str(said).startswith('error: ')
        assert '\n' not in said
        return said

    return call


@pytest.fixture
def copy(shapes, tmp_path) -> Path:
    return Path(shutil.copytree(shapes, tmp_path / 'set'))


@pytest.mark.parametrize(
    ('command', 'config'), [('train.py', 'ssd_menet228_voc'), ('test.py', 'faster_rcnn_menet228_voc')]
)
def test_no_data_set(refused, command, config, tmp_path):
    checkpoint = tmp_path / 'x.pth'
    torch.save({}, checkpoint)
    arguments = [ROOT / f'configs/{config}.py', *([checkpoint] if command == 'test.py' else [])]
    said = refused(command, *arguments, *data(tmp_path / 'nowhere'))
    assert 'python tools/download_voc.py' in said
    assert str(tmp_path / 'nowhere') in said


def test_no_ilsvrc(refused, tmp_path):
    said = refused('train.py', ROOT / 'configs/menet108_in1k.py', *data(tmp_path / 'nowhere'))
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
def test_config_that_cannot_work(refused, shapes, option, expected):
    assert expected in refused('train.py', SSD, *data(shapes, option))


def test_channels_that_groups_do_not_divide(refused, shapes, tmp_path):
    arch = 'dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=5, depths=(1, 1, 1))'
    config = tmp_path / 'groups.py'
    config.write_text(
        f"_base_ = '{SSD}'\nmodel = dict(backbone=dict(_delete_=True, type='menet_mm.MENet', arch={arch}))\n"
    )
    assert 'divisible by 4 * groups' in refused('train.py', config, *data(shapes))


def test_corrupt_image(refused, copy):
    path = copy / 'VOC2007/JPEGImages/trainval_00005.jpg'
    path.write_bytes(path.read_bytes()[:900])
    assert str(path) in refused('train.py', SSD, *data(copy))


def test_corrupt_xml(refused, copy):
    path = copy / 'VOC2007/Annotations/test_00002.xml'
    path.write_text('<annotation>')
    assert str(path) in refused('train.py', SSD, *data(copy))


def test_checkpoint_of_another_network(refused, shapes, tmp_path):
    from mmengine.config import Config
    from mmpretrain.registry import MODELS

    model = MODELS.build(Config.fromfile(ROOT / 'configs/menet108_in1k.py').model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'menet108.pth')
    said = refused('test.py', SSD, tmp_path / 'menet108.pth', '--work-dir', tmp_path, *data(shapes))
    assert 'the checkpoint is of another network' in said
    assert 'instead of' in said


def test_files_that_are_not_there(refused, shapes, tmp_path):
    said = refused('train.py', 'configs/none.py')
    assert 'no config configs/none.py' in said
    said = refused('test.py', SSD, tmp_path / 'none.pth', *data(shapes))
    assert f'no checkpoint {tmp_path}/none.pth' in said
    said = refused('train.py', SSD, '--resume', tmp_path / 'none.pth', *data(shapes))
    assert f'no checkpoint {tmp_path}/none.pth' in said


def test_amp_without_a_gpu(refused, shapes, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert '--amp needs a GPU' in refused('train.py', SSD, '--amp', *data(shapes))


def test_out_must_be_a_pickle(refused, shapes, tmp_path):
    assert 'must end in .pkl' in refused('test.py', SSD, tmp_path, '--out', 'x.json', *data(shapes))


def test_metrics_must_have_an_ending_that_can_be_written(refused, tmp_path):
    """Said before the checkpoint is looked for, let alone after the test."""
    said = refused('test.py', SSD, tmp_path / 'none.pth', '--out', 'x.txt', '--out-item', 'metrics')
    assert '--out x.txt must end in .pkl, or with --out-item metrics in .json' in said


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ("model = dict(backbone=dict(type='menet_mm.MENett'))", 'MENett'),
        ("train_dataloader = dict(dataset=dict(classes=('a',)))", "unexpected keyword argument 'classes'"),
        ('optim_wrapper = dict(optimizer=dict(lr=-1.0))', 'Invalid learning rate: -1.0'),
    ],
)
def test_what_a_class_does_not_take(refused, shapes, tmp_path, line, expected):
    """Said by the class itself while it is built."""
    config = tmp_path / 'x.py'
    config.write_text(f"_base_ = '{SSD}'\n{line}\n")
    said = refused('train.py', config, *data(shapes))
    assert 'cannot be built' in said
    assert expected in said


@pytest.mark.parametrize('command', ['train.py', 'test.py', 'report.py'])
def test_misspelt_keys_are_refused_by_every_command(refused, tmp_path, command):
    """Also by name, from a folder without configs/; before data or a checkpoint is looked for."""
    more = [] if command == 'train.py' else ['none.pth']
    said = refused(command, 'ssd_menet228_voc', *more, '--cfg-options', 'model.bacbone.arch=228')
    assert said.endswith('did you mean model.backbone?')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('option', 'expected'),
    [
        ('train_cfg.max_epochs', 'takes KEY=VALUE'),
        ('key=[1,2', 'takes KEY=VALUE'),
        ("custom_hooks=[dict(type='EMAHook', momentum=0.1)]", 'takes no dicts'),
        ('custom_hooks=[1, {"a": 2}]', 'takes no dicts'),
        ('train_cfg=dict(max_epochs=3)', 'takes no dicts'),
    ],
)
def test_options_that_are_no_options(refused, option, expected):
    said = refused('train.py', 'ssd_menet228_voc', '--cfg-options', 'load_from=None', option)
    assert f'--cfg-options {expected}' in said
    assert option in said


def test_a_refusal_as_a_user_sees_it(tool):
    """In a process of its own: the last line, a status, no traceback."""
    result = tool('train.py', 'ssd_menet228_voc', '--cfg-options', 'lr=0.1', ok=False)
    assert result.returncode == 1
    assert 'Traceback' not in result.stdout
    assert result.stdout.strip().splitlines()[-1].startswith('error: ')
