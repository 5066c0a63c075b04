"""The wheel, installed into a clean prefix, without the checkout in sight."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.slow
SOURCES = ('menet_mm', 'configs', 'tools', 'setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE')


@pytest.fixture(scope='module')
def prefix(tmp_path_factory) -> Path:
    """Build from a copy, so that an older build folder adds nothing, and install."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        ignore = shutil.ignore_patterns('__pycache__')
        shutil.copytree(path, source / name, symlinks=True, ignore=ignore) if path.is_dir() else shutil.copy(
            path, source
        )
    pip = [sys.executable, '-m', 'pip', '--disable-pip-version-check']
    subprocess.run([*pip, 'wheel', '-q', '--no-deps', '--no-build-isolation', '-w', folder, source], check=True)
    (wheel,) = folder.glob('menet_mm-*.whl')
    subprocess.run([*pip, 'install', '-q', '--no-deps', '--target', folder / 'prefix', wheel], check=True)
    shutil.rmtree(source)
    return folder / 'prefix'


def python(prefix: Path, folder: Path, *arguments: str) -> str:
    env = {**os.environ, 'PYTHONPATH': str(prefix)}
    result = subprocess.run([sys.executable, *arguments], cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_every_config_is_inherited_and_built(prefix, tmp_path):
    names = sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
    out = python(prefix, tmp_path, str(ROOT / 'tests' / 'inherit.py'), *names)
    built = [line.split() for line in out.splitlines() if line.startswith('built ')]
    assert [name for _, name, *_ in built] == names
    assert all(line[-1] == str(prefix / 'menet_mm/__init__.py') for line in built)


def test_names_work_without_the_checkout(prefix, tmp_path):
    code = """
import menet_mm
from mmengine.hub import get_config, get_model
from menet_mm.apis.inference import find_model, list_models
print(len(list_models()), find_model('menet108_in1k')[0])
print(get_config('menet_mm::menet/ssd_menet108_voc.py').model.backbone.arch)
print(type(get_model('menet_mm::menet/menet108_in1k.py')).__name__)
"""
    out = python(prefix, tmp_path, '-W', 'ignore', '-c', code)
    expected = len(list((ROOT / 'configs').glob('*.py')))
    assert f'{expected} {prefix}/menet_mm/.mim/configs/menet/menet108_in1k.py' in out
    assert '108-8x1-g3' in out
    assert 'ImageClassifier' in out


@pytest.mark.parametrize('library', ['mmdet', 'menet_mm'])
def test_the_downstream_example_trains(prefix, shared, tmp_path, library):
    """With MMDetection's own script and with ours, both as installed, from a copy of the example."""
    project = tmp_path / 'project'
    shutil.copytree(ROOT / 'examples/downstream', project)
    (project / 'data').mkdir(exist_ok=True)
    (project / 'data/BCCD').symlink_to(shared / 'data/BCCD')
    code = f'import {library}, sys; print({library}.__path__[0])'
    tools = python(prefix, tmp_path, '-c', code).strip().splitlines()[-1] + '/.mim/tools'
    loaders = [f'{split}_dataloader.dataset.indices=4' for split in ('train', 'val')]
    options = ['model.backbone.init_cfg=None', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', *loaders]
    options += ['train_dataloader.batch_size=4']
    env_path = os.pathsep.join((str(prefix), str(project)))
    config = 'configs/ssd_menet108_bccd.py'
    out = python(env_path, project, f'{tools}/train.py', config, '--work-dir', 'work', '--cfg-options', *options)
    assert (project / 'work/epoch_1.pth').is_file()
    assert 'Platelets' in out
