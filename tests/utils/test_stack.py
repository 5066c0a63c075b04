"""Versions that cannot work together end in one sentence; a transformers that breaks the libraries does not stop ours."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from menet_mm import InputError
from menet_mm.deploy import export
from menet_mm.utils.environment import library_versions
from menet_mm.utils.stack import check_exporter

ROOT = Path(__file__).resolve().parent.parent.parent
OPENMMLAB = dict(torch='2.1.2', torchvision='0.16.2', numpy='1.26.4', mmengine='0.10.7', mmcv='2.1.0', mmdet='3.3.0')


def check(folder: Path, versions: dict[str, str], modules: tuple[str, ...] = ()) -> str:
    """What check_stack says in an environment that holds these distributions and empty modules, and nothing else."""
    for name, version in versions.items():
        info = folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    for name in modules:
        (folder / name).mkdir()
        (folder / name / '__init__.py').touch()
    code = f"""
import sys
sys.path += [{str(ROOT)!r}, {str(folder)!r}]
from menet_mm import InputError
from menet_mm.utils.stack import check_stack
try:
    check_stack()
except InputError as error:
    print(error)
"""
    return subprocess.run([sys.executable, '-ISc', code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    ('changes', 'modules', 'problem'),
    [
        (dict(mmcv='2.2.0'), (), 'mmdet 3.3.0 refuses mmcv 2.2.0'),
        (dict(numpy='2.2.6'), (), 'mmcv 2.1.0 does not work with numpy 2.2.6'),
        ({}, ('mmcv', 'mmdet'), 'mmcv was installed without its operators'),
        ({'onedl-mmcv': '2.3.6'}, (), 'onedl-mmcv and mmcv are both installed'),
        (dict(torchvision='0.27.0'), (), 'torchvision 0.27.0 is not made for torch 2.1.2'),
    ],
)
def test_what_cannot_work_is_named_with_the_versions_and_the_remedy(tmp_path, changes, modules, problem):
    said = check(tmp_path, {**OPENMMLAB, **changes}, modules)
    assert said.startswith(problem)
    assert 'torch 2.1.2' in said
    assert 'docs/install.md' in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    'versions',
    [
        OPENMMLAB,
        {**OPENMMLAB, 'torch': '2.1.2+cpu', 'torchvision': '0.16.2+cpu'},
        {
            'torch': '2.12.0',
            'torchvision': '0.27.0',
            'numpy': '2.2.6',
            'onedl-mmcv': '2.3.6',
            'onedl-mmdetection': '3.5.1',
        },
        {'numpy': '2.2.6'},  # where exported models run
    ],
)
def test_what_works_is_left_alone(tmp_path, versions):
    assert check(tmp_path, versions) == ''


@pytest.fixture
def transformers(tmp_path) -> Path:
    """A folder with a stand-in for a transformers that the MM libraries fail on as on the real one."""
    package = tmp_path / 'transformers'
    package.mkdir()
    # What mmengine and torch 2.1 look for and find.
    (package / '__init__.py').write_text('from . import configuration_utils\n\nclass Adafactor: ...')
    (package / 'configuration_utils.py').write_text('class PretrainedConfig: ...')
    for name in ('activations', 'generation', 'modeling_outputs', 'modeling_utils', 'models', 'utils'):
        (package / f'{name}.py').write_text("raise TypeError('NoneType takes no arguments')")
    info = tmp_path / 'transformers-5.3.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: transformers\nVersion: 5.3.0\n')
    return tmp_path


def test_commands_work_beside_a_new_transformers(tool, transformers, shapes, shared, tmp_path):
    options = [f'{split}_dataloader.dataset.data_root={shapes}/' for split in ('train', 'val')]
    options += ['train_dataloader.batch_size=4', 'train_dataloader.dataset.indices=4', 'train_cfg.max_epochs=1']
    trained = tool(
        'train.py', 'configs/ssd_menet228_shapes.py', '--work-dir', tmp_path / 'work', '--no-validate',
        '--cfg-options', *options, PYTHONPATH=str(transformers),
    ).stdout  # fmt: skip
    assert 'transformers 5.3.0' in trained
    assert (tmp_path / 'work/epoch_1.pth').is_file()

    settings = dict(
        data_root=f'{shared}/data/ilsvrc_sample', ann_file='val.txt', data_prefix='images', split='', indices=2
    )
    data = [f'test_dataloader.dataset.{key}={value}' for key, value in settings.items()]
    weights = shared / 'weights/108-MENet-8x1-group-3.pth.tar'
    converted = tmp_path / 'menet108.pth'
    tool('convert_checkpoint.py', weights, converted, PYTHONPATH=str(transformers))
    tested = tool(
        'test.py', 'configs/menet108_in1k.py', converted, '--cfg-options', *data, PYTHONPATH=str(transformers)
    )
    assert 'accuracy/top1' in tested.stdout


def test_a_library_call_says_what_to_do_about_transformers(transformers):
    code = f"""
import sys
sys.path[:0] = [{str(transformers)!r}, {str(ROOT)!r}]
from menet_mm import InputError, get_inferencer
try:
    get_inferencer('menet108_in1k', 'none.pth', device='cpu')
except InputError as error:
    print('said', error)
"""
    said = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True).stdout
    assert 'cannot be imported beside transformers 5.3.0: run `pip install "transformers<' in said


@pytest.mark.parametrize(('config', 'other'), [('menet108_in1k', 'mmdet'), ('ssd_menet228_shapes', 'mmpretrain')])
def test_a_task_works_where_the_other_tasks_library_cannot_be_imported(tmp_path, config, other):
    (tmp_path / other).mkdir()
    (tmp_path / other / '__init__.py').write_text("raise ImportError('broken')")
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]
from mmengine.registry import MODELS, init_default_scope
from menet_mm.utils.config import read_config
cfg = read_config({config!r})
init_default_scope(cfg.default_scope)
print('built', type(MODELS.build(cfg.model)).__name__)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert 'built ' in done.stdout, done.stderr


def test_an_old_torch_is_told_that_it_cannot_export(monkeypatch):
    monkeypatch.setattr(torch.onnx, 'export', lambda model, args, f: None)  # as before torch 2.5
    with pytest.raises(InputError, match=r'export needs torch 2\.5 or newer, but this is '):
        export('menet108_in1k', 'none.pth', 'x.onnx', [])


def test_the_default_stack_exports():
    """So that no test of export is left out unseen."""
    default = library_versions(['onedl-mmdetection'])
    with nullcontext() if default else pytest.raises(InputError):
        check_exporter()
