"""The wheel, installed into a clean prefix, without the checkout in sight."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.photographs]
SOURCES = (
    'menet_mm',
    'configs',
    'tools',
    'benchmarks',
    'studies',
    'setup.py',
    'setup.cfg',
    'pyproject.toml',
    'README.md',
    'LICENSE',
)


@pytest.fixture(scope='module')
def prefix(tmp_path_factory) -> Path:
    """Build from a copy that is a git checkout, with files that git does not track, and install."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    source.mkdir()
    for name in SOURCES:
        path = ROOT / name
        ignore = shutil.ignore_patterns('__pycache__')
        shutil.copytree(path, source / name, symlinks=True, ignore=ignore) if path.is_dir() else shutil.copy(
            path, source
        )
    for arguments in (['init', '-q'], ['add', '.']):
        subprocess.run(['git', '-C', source, *arguments], check=True)
    for private in ('configs/private.py', 'menet_mm/private.py', 'menet_mm/.mim/tools/private.py'):
        (source / private).write_text('')
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


def test_the_wheel_holds_what_git_tracks_and_users_need(prefix):
    files = {str(path.relative_to(prefix)) for path in prefix.rglob('*') if path.is_file() and path.suffix != '.pyc'}
    assert not [name for name in files if 'private' in name]
    assert {Path(name).parts[0] for name in files if '.dist-info/' not in name} == {'menet_mm'}
    tracked = subprocess.run(
        ['git', 'ls-files', 'menet_mm', 'configs'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    expected = {name for name in tracked.stdout.split() if name != 'menet_mm/.mim/configs/menet'}
    renamed = {
        f'menet_mm/.mim/configs/menet/{name.removeprefix("configs/")}' if name.startswith('configs/') else name
        for name in expected
    }
    assert {name for name in files if name.startswith('menet_mm/')} == renamed


def test_a_source_distribution_builds_the_same_files(prefix, tmp_path):
    source = tmp_path / 'source'
    shutil.copytree(
        ROOT,
        source,
        symlinks=True,
        ignore=lambda folder, names: [] if folder != str(ROOT) else set(names) - set(SOURCES),
    )
    code = 'from setuptools.build_meta import build_sdist; print(build_sdist("dist"))'
    subprocess.run([sys.executable, '-c', code], cwd=source, check=True, capture_output=True)
    (archive,) = (source / 'dist').glob('*.tar.gz')
    pip = [
        sys.executable,
        '-m',
        'pip',
        '--disable-pip-version-check',
        'install',
        '-q',
        '--no-deps',
        '--no-build-isolation',
    ]
    subprocess.run([*pip, '--target', tmp_path / 'prefix', archive], check=True)
    ours, theirs = (
        {
            str(path.relative_to(root))
            for path in (root / 'menet_mm').rglob('*')
            if path.is_file() and path.suffix != '.pyc'
        }
        for root in (prefix, tmp_path / 'prefix')
    )
    assert ours == theirs


def test_every_config_is_inherited_and_built(prefix, tmp_path):
    names = sorted(path.stem for path in (prefix / 'menet_mm/.mim/configs/menet').glob('*.py'))
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
    expected = len(list((prefix / 'menet_mm/.mim/configs/menet').glob('*.py')))
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
