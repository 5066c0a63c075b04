"""Make the project's environment: the tested stack in the order in which it must be installed.

`make quickstart` and `make test` call this; it needs nothing but Python's standard library. A second run returns at once,
and a run after an interruption goes on where the first one stopped: compiled files of mmcv are kept in build/, and its
finished wheel in the user's cache, by Python and torch version.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / 'requirements' / 'constraints.txt'
PYTHONS = ((3, 11), (3, 12))
NEEDED_GB = 9
PY_TAG = f'cp{sys.version_info.major}{sys.version_info.minor}'

VERIFY = """
import torch, cv2, mmcv._ext, mmengine, mmdet, mmpretrain, pycocotools
from mmcv.ops import nms
boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 11.], [20., 20., 30., 30.]])
kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
assert kept == [0, 2], f'mmcv.ops.nms kept {kept}'
"""


def stop(sentence: str) -> None:
    sys.exit(f'error: {sentence}')


def pinned(name: str) -> str:
    """The requirement of the constraints file for one distribution, such as torch==2.11.0."""
    lines = CONSTRAINTS.read_text().splitlines()
    return next(line for line in lines if line.startswith(f'{name}=='))


class Environment:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.python = path / 'bin' / 'python'
        self.stamp = path / 'menet_mm-setup.sha256'
        self.env = {**os.environ, 'PATH': f'{path / "bin"}{os.pathsep}{os.environ["PATH"]}'}

    def run(self, *args: str, cwd: Path = ROOT, **env: str) -> None:
        subprocess.run([str(self.python), *args], check=True, cwd=cwd, env={**self.env, **env})

    def pip(self, *args: str, **kwargs) -> None:
        self.run('-m', 'pip', '--disable-pip-version-check', *args, **kwargs)

    def works(self, code: str) -> bool:
        return subprocess.run([str(self.python), '-c', code], env=self.env, capture_output=True).returncode == 0

    def create(self) -> None:
        """Make the virtual environment, or check that the one that is there has the wanted Python."""
        if self.python.exists():
            code = f'import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})'
            if not self.works(code):
                stop(f'{self.path} was made with another Python: remove it, or choose another folder with VENV=')
        else:
            subprocess.run([sys.executable, '-m', 'venv', str(self.path)], check=True)
        self.pip('install', '-q', *(pinned(name) for name in ('pip', 'setuptools', 'wheel', 'packaging', 'ninja')))

    def install_torch(self) -> None:
        self.pip('install', '-q', '-c', str(CONSTRAINTS), pinned('torch'), pinned('torchvision'))

    def install_mmcv(self) -> None:
        """Install mmcv with its operators compiled against the torch that is installed."""
        if self.works('import mmcv._ext'):
            return
        torch = pinned('torch').replace('==', '-')
        wheels = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'menet_mm' / f'{PY_TAG}-{torch}'
        pattern = pinned('onedl-mmcv').replace('-', '_').replace('==', '-') + '-*.whl'
        if not list(wheels.glob(pattern)):
            self._build_mmcv(wheels)
        self.pip('install', '-q', '--no-deps', '--force-reinstall', str(next(wheels.glob(pattern))))

    def _build_mmcv(self, wheels: Path) -> None:
        build = ROOT / 'build' / f'mmcv-{PY_TAG}'
        archive = pinned('onedl-mmcv').replace('-', '_').replace('==', '-')
        source = build / archive
        if not (source / 'setup.py').exists():
            build.mkdir(parents=True, exist_ok=True)
            # Without isolation, so that the build sees torch; otherwise it leaves the operators out without failing.
            download = ('--no-deps', '--no-build-isolation', '--no-binary', ':all:', '-d', str(build))
            self.pip('download', '-q', *download, pinned('onedl-mmcv'))
            with tarfile.open(build / f'{archive}.tar.gz') as tar:
                tar.extractall(build, filter='data')
        finished = build / 'wheels'
        options = ('--no-deps', '--no-build-isolation', '--no-cache-dir', '-w', str(finished))
        jobs = str(len(os.sched_getaffinity(0)))
        env = dict(MMCV_WITH_OPS='1', CFLAGS='-g0', MAX_JOBS=os.environ.get('MAX_JOBS', jobs))
        self.pip('wheel', '-q', *options, '.', cwd=source, **env)
        wheels.mkdir(parents=True, exist_ok=True)
        for wheel in finished.glob('*.whl'):
            # Renamed when complete: the cache never holds half a wheel.
            partial = shutil.copy(wheel, wheels / f'{wheel.name}.partial')
            Path(partial).rename(wheels / wheel.name)
        shutil.rmtree(build)

    def install_rest(self) -> None:
        self.pip('install', '-q', '-c', str(CONSTRAINTS), '-e', f'{ROOT}[onedl,tools,export,edge,test]')
        # Both builds of OpenCV arrive and overwrite each other, and the plain one needs libGL, which a server lacks.
        self.pip('install', '-q', '--no-deps', '--force-reinstall', pinned('opencv-python-headless'))

    def verify(self) -> None:
        self.run('-W', 'ignore', '-c', VERIFY)


def check_machine(path: Path) -> None:
    """Stop with a sentence if something is missing that no later step could bring."""
    if sys.version_info[:2] not in PYTHONS:
        wanted = ' or '.join(f'{major}.{minor}' for major, minor in PYTHONS)
        stop(
            f'Python {wanted} is needed, but this is {sys.version.split()[0]}: run `make ... PYTHON=python{wanted[:4]}`'
        )
    if not shutil.which(os.environ.get('CXX', 'g++')):
        stop('mmcv is compiled here, but there is no C++ compiler: install g++ (Debian, Ubuntu: apt install g++)')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        stop(
            'mmcv is compiled here, but Python.h is missing: install python3-dev (Debian, Ubuntu: apt install python3-dev)'
        )
    if not (path / 'bin' / 'python').exists():
        free = shutil.disk_usage(ROOT).free / 1e9
        if free < NEEDED_GB:
            stop(
                f'the environment needs {NEEDED_GB} GB of disk, but {free:.1f} GB are free here: make room, or set VENV='
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    environment = Environment(parser.parse_args().venv.absolute())

    recipe = hashlib.sha256(b''.join(f.read_bytes() for f in (CONSTRAINTS, ROOT / 'setup.cfg', Path(__file__))))
    if environment.stamp.exists() and environment.stamp.read_text() == recipe.hexdigest():
        return
    check_machine(environment.path)
    steps = (
        ('virtual environment', 'seconds', environment.create),
        ('torch and torchvision', '1 to 10 minutes, 3 GB to download', environment.install_torch),
        ('mmcv with compiled operators', '5 to 15 minutes on 2 cores the first time', environment.install_mmcv),
        ('MMEngine, MMDetection, MMPretrain and the rest', '1 to 3 minutes', environment.install_rest),
        ('check that operators work', 'seconds', environment.verify),
    )
    for number, (name, duration, step) in enumerate(steps, 1):
        print(f'[{number}/{len(steps)}] {name} ({duration}) ...', flush=True)
        start = time.monotonic()
        try:
            step()
        except subprocess.CalledProcessError as error:
            stop(
                f'"{name}" failed with status {error.returncode}; its output is above. Run the same command to go on from here'
            )
        except KeyboardInterrupt:
            stop('interrupted; run the same command to go on from here')
        print(f'      done in {time.monotonic() - start:.0f} s', flush=True)
    environment.stamp.write_text(recipe.hexdigest())


if __name__ == '__main__':
    main()
