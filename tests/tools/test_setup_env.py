"""Set-up stops with a sentence where something is missing that it cannot bring, and takes a wheel of mmcv where one fits.

Whole set-ups are run by CI itself.
"""

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections import namedtuple
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
Usage = namedtuple('Usage', 'total used free')


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', ROOT / 'tools/setup_env.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_this_machine_will_do(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(0, 0, 20e9))
    setup_env.check_machine(tmp_path / 'new', setup_env.STACKS['onedl'])
    setup_env.check_compiler()


def test_missing_compiler(setup_env, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit, match='error: .* no C\\+\\+ compiler: install g\\+\\+'):
        setup_env.check_compiler()


def test_wrong_python(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    with pytest.raises(SystemExit, match='error: Python 3.12 or 3.11 is needed'):
        setup_env.check_machine(tmp_path, setup_env.STACKS['onedl'])
    with pytest.raises(SystemExit, match='error: Python 3.11 is needed'):
        setup_env.check_machine(tmp_path, setup_env.STACKS['openmmlab'])


def test_missing_headers(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, 'get_path', lambda _: str(tmp_path))
    with pytest.raises(SystemExit, match='error: .* Python.h is missing: install python3-dev'):
        setup_env.check_compiler()


def test_full_disk(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(0, 0, 1e9))
    with pytest.raises(SystemExit, match='error: the environment needs 9 GB of disk, but 1.0 GB are free'):
        setup_env.check_machine(tmp_path / 'new', setup_env.STACKS['onedl'])


def test_environment_of_another_python(setup_env, tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/python').symlink_to(sys.executable)
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    with pytest.raises(SystemExit, match='was made with another Python: remove it'):
        setup_env.Environment(tmp_path, 'onedl').create()


@pytest.mark.parametrize(('stack', 'pinned'), [('onedl', 7), ('openmmlab', 8)])
def test_extra_and_constraints_name_the_same_versions(stack, pinned):
    constraints = set((ROOT / f'requirements/{stack}.txt').read_text().splitlines())
    extras = dict(re.findall(r'^(\w+) =\n((?:    .*\n)+)', (ROOT / 'setup.cfg').read_text(), re.MULTILINE))
    assert len(extras[stack].split()) == pinned
    assert set(extras[stack].split()) <= constraints


def test_pages_are_built_with_pinned_versions_on_one_stack(setup_env, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(setup_env.Environment, 'pip', lambda self, *args: asked.extend(args))
    setup_env.Environment(tmp_path, 'onedl').install_extra('docs')
    assert {'furo', 'myst-parser', 'sphinx', str(ROOT / 'requirements/onedl.txt')} <= set(asked)
    with pytest.raises(SystemExit, match='error: openmmlab.txt has no version of furo, .*: use the stack onedl'):
        setup_env.Environment(tmp_path, 'openmmlab').install_extra('docs')


@pytest.fixture(scope='module')
def mmcv():
    """The distribution of mmcv that is installed here, with its compiled operators."""
    return next(d for d in distributions() if d.name in ('mmcv', 'onedl-mmcv'))


@pytest.fixture
def environment(setup_env, mmcv, tmp_path, monkeypatch):
    """An environment that has all of this one but mmcv; no cache, no published wheels, no compiler."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('MMCV_BASE_URL', 'http://127.0.0.1:9')
    monkeypatch.setenv('CXX', 'no-compiler')
    monkeypatch.delenv('MENET_MM_WHEELS', raising=False)
    installed = tmp_path / 'installed'
    installed.mkdir()
    for path in Path(sysconfig.get_path('purelib')).iterdir():
        if not path.name.startswith(('mmcv', 'onedl_mmcv', 'pip', '__pycache__')):
            (installed / path.name).symlink_to(path)
    subprocess.run([sys.executable, '-m', 'venv', tmp_path / 'venv'], check=True)
    (packages,) = (tmp_path / 'venv/lib').glob('python*/site-packages')
    (packages / 'installed.pth').write_text(f'{installed}\n')
    return setup_env.Environment(tmp_path / 'venv', 'onedl' if mmcv.name == 'onedl-mmcv' else 'openmmlab')


def pack(mmcv, folder: Path, change=lambda name, content: content) -> None:
    """Make a wheel from what is installed."""
    folder.mkdir()
    tag = re.search(r'^Tag: (\S+)', mmcv.read_text('WHEEL'), re.MULTILINE)[1]
    with zipfile.ZipFile(folder / f'{mmcv.name.replace("-", "_")}-{mmcv.version}-{tag}.whl', 'w') as wheel:
        for name in map(str, mmcv.files):
            if not name.startswith('..') and not name.endswith(('.pyc', 'INSTALLER', 'direct_url.json')):
                wheel.writestr(name, change(name, mmcv.locate_file(name).read_bytes()))


def test_a_wheel_in_a_folder_is_taken(environment, mmcv, tmp_path, monkeypatch, capfd):
    pack(mmcv, tmp_path / 'wheels')
    monkeypatch.setenv('MENET_MM_WHEELS', str(tmp_path / 'wheels'))
    environment.install_mmcv()
    assert f'mmcv from MENET_MM_WHEELS ({tmp_path}/wheels): nothing is compiled' in capfd.readouterr().out
    environment.install_mmcv()
    assert 'mmcv is there, and its operators work' in capfd.readouterr().out


def test_a_wheel_of_another_torch_is_left_out(environment, mmcv, tmp_path, monkeypatch, capfd):
    def rename(name: str, content: bytes) -> bytes:
        """Ask for functions that this torch does not have, as operators of another torch do."""
        return content.replace(b'_ZN3c10', b'_ZN3c19') if '_ext' in name else content

    pack(mmcv, tmp_path / 'wheels', rename)
    monkeypatch.setenv('MENET_MM_WHEELS', str(tmp_path / 'wheels'))
    with pytest.raises(SystemExit, match='no C\\+\\+ compiler'):
        environment.install_mmcv()
    said = capfd.readouterr().out
    assert 'is left out, since its operators do not work here: ' in said
    assert 'undefined symbol' in said
    assert environment.ask('-c', 'import mmcv')[0] is False


def test_without_a_wheel_mmcv_is_compiled(environment, tmp_path, monkeypatch, capfd):
    (tmp_path / 'empty').mkdir()
    monkeypatch.setenv('MENET_MM_WHEELS', str(tmp_path / 'empty'))
    with pytest.raises(SystemExit, match='no C\\+\\+ compiler'):
        environment.install_mmcv()
    said = capfd.readouterr().out
    assert re.search(r'no wheel of \S*mmcv==\S+ for this Python in MENET_MM_WHEELS', said)
    assert 'mmcv is compiled, since no wheel fits' in said
