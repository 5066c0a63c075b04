"""Running the real command lines."""

import io
import os
import re
import runpy
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope='session')
def tool(tmp_path_factory):
    """Call ``tools/<name>`` as a user would; returns the finished process, with stderr in stdout.

    It runs in a folder of its own, so that default work dirs do not appear among the user's.
    """
    folder = tmp_path_factory.mktemp('run')

    def call(name: str, *args: object, ok: bool = True, **env: str) -> subprocess.CompletedProcess:
        script = ROOT / 'tools' / name
        interpreter = [sys.executable, '-u'] if script.suffix == '.py' else ['bash']
        environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}', **env}
        result = subprocess.run(
            [*interpreter, str(script), *(str(ROOT / a) if str(a).startswith('configs/') else str(a) for a in args)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (result.returncode == 0) == ok, result.stdout
        return result

    return call


@pytest.fixture(scope='session')
def metric():
    """Find the last value of a metric in a log."""

    def find(log: str, name: str = 'pascal_voc/mAP') -> float:
        return float(re.findall(rf'{name}: (\d+\.\d+)', log)[-1])

    return find


@pytest.fixture(scope='session')
def export_here() -> Callable[..., str]:
    """Run tools/export.py in this process, which has the libraries already; returns what it says."""

    def call(*args: object) -> str:
        said = io.StringIO()
        with warnings.catch_warnings(), redirect_stdout(said), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', ['export.py', *map(str, args)])
            runpy.run_path(str(ROOT / 'tools/export.py'), run_name='__main__')
        return said.getvalue()

    return call
