"""Set-up stops with a sentence where something is missing that it cannot bring; whole set-ups are run by CI itself."""

import importlib.util
import re
import shutil
import sys
import sysconfig
from collections import namedtuple
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
    setup_env.check_machine(tmp_path / 'new')


def test_missing_compiler(setup_env, tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(SystemExit, match='error: .* no C\\+\\+ compiler: install g\\+\\+'):
        setup_env.check_machine(tmp_path)


def test_wrong_python(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    with pytest.raises(SystemExit, match='error: Python 3.11 or 3.12 is needed'):
        setup_env.check_machine(tmp_path)


def test_missing_headers(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, 'get_path', lambda _: str(tmp_path))
    with pytest.raises(SystemExit, match='error: .* Python.h is missing: install python3-dev'):
        setup_env.check_machine(tmp_path)


def test_full_disk(setup_env, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: Usage(0, 0, 1e9))
    with pytest.raises(SystemExit, match='error: the environment needs 9 GB of disk, but 1.0 GB are free'):
        setup_env.check_machine(tmp_path / 'new')


def test_environment_of_another_python(setup_env, tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin/python').symlink_to(sys.executable)
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    with pytest.raises(SystemExit, match='was made with another Python: remove it'):
        setup_env.Environment(tmp_path).create()


def test_extra_and_constraints_name_the_same_versions():
    constraints = set((ROOT / 'requirements/constraints.txt').read_text().splitlines())
    tested = re.findall(r'^    (\S+==\S+)$', (ROOT / 'setup.cfg').read_text(), re.MULTILINE)
    assert len(tested) == 7
    assert set(tested) <= constraints
