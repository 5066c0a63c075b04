"""Make the project's environment: one of the tested stacks, in the order in which it must be installed.

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
import tempfile
import time
from configparser import ConfigParser
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
NEEDED_GB = 9
PY_TAG = f'cp{sys.version_info.major}{sys.version_info.minor}'


class Stack(NamedTuple):
    """What differs between the rows of docs/install.md; the versions stand in ``requirements/<name>.txt``."""

    pythons: tuple[tuple[int, int], ...]
    mmcv: str
    extras: str
    #: The installer that knows the address of published mmcv wheels, and the page of one torch and CUDA there.
    installer: str
    page: str


STACKS = dict(
    onedl=Stack(
        ((3, 12), (3, 11)),
        'onedl-mmcv',
        'onedl,tools,export,edge,demo,test',
        'onedl-mim==0.5.1',
        '{base}/{device}-torch{major}{minor}0/simple/onedl-mmcv/index.html',
    ),
    openmmlab=Stack(
        ((3, 11),),
        'mmcv',
        'openmmlab,tools,runtime,test',
        'openmim==0.3.9',
        '{base}/mmcv/dist/{device}/torch{major}.{minor}.0/index.html',
    ),
)

OPERATORS = """
import warnings; warnings.simplefilter('ignore')
import torch, mmcv._ext
from mmcv.ops import nms
boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 11.], [20., 20., 30., 30.]])
kept = nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.5)[1].tolist()
assert kept == [0, 2], f'mmcv.ops.nms kept {kept}'
"""
VERIFY = f'{OPERATORS}\nimport cv2, mmengine, mmdet, mmpretrain, pycocotools'


def stop(sentence: str) -> None:
    sys.exit(f'error: {sentence}')


def say(sentence: str) -> None:
    print(f'      {sentence}', flush=True)


class Environment:
    def __init__(self, path: Path, stack: str) -> None:
        self.path = path
        self.stack = STACKS[stack]
        self.constraints = ROOT / 'requirements' / f'{stack}.txt'
        self.python = path / 'bin' / 'python'
        self.stamp = path / 'menet_mm-setup.sha256'
        self.env = {**os.environ, 'PATH': f'{path / "bin"}{os.pathsep}{os.environ["PATH"]}'}

    def pinned(self, name: str) -> str:
        """The requirement of the constraints file for one distribution, such as torch==2.12.0."""
        lines = self.constraints.read_text().splitlines()
        return next(line for line in lines if line.startswith(f'{name}=='))

    def run(self, *args: str, cwd: Path = ROOT, **env: str) -> None:
        subprocess.run([str(self.python), *args], check=True, cwd=cwd, env={**self.env, **env})

    def pip(self, *args: str, **kwargs) -> None:
        self.run('-m', 'pip', '--disable-pip-version-check', *args, **kwargs)

    def ask(self, *args: str) -> tuple[bool, str]:
        """Run Python; returns whether it succeeded, and the last line that it printed."""
        result = subprocess.run([str(self.python), *args], env=self.env, cwd=self.path, capture_output=True, text=True)
        lines = (result.stdout if result.returncode == 0 else result.stderr).strip().splitlines()
        return result.returncode == 0, lines[-1] if lines else ''

    def create(self) -> None:
        """Make the virtual environment, or check that the one that is there has the wanted Python."""
        if self.python.exists():
            code = f'import sys; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])})'
            if not self.ask('-c', code)[0]:
                stop(f'{self.path} was made with another Python: remove it, or choose another folder with VENV=')
        else:
            subprocess.run([sys.executable, '-m', 'venv', str(self.path)], check=True)
        self.pip('install', '-q', *(self.pinned(name) for name in ('pip', 'setuptools', 'wheel', 'packaging', 'ninja')))

    def install_torch(self) -> None:
        self.pip('install', '-q', '-c', str(self.constraints), self.pinned('torch'), self.pinned('torchvision'))

    def install_mmcv(self) -> None:
        """Install mmcv with operators for the torch that is installed: a wheel if there is one, else compiled here."""
        imported, _ = self.ask('-W', 'ignore', '-c', 'import mmengine, cv2')
        if not imported:  # mmcv imports them
            mmengine = self.pinned(self.stack.mmcv.replace('mmcv', 'mmengine'))
            self.pip('install', '-q', '-c', str(self.constraints), mmengine)
            self.install_opencv()
        if self.ask('-c', OPERATORS)[0]:
            say('mmcv is there, and its operators work')
            return
        cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'menet_mm'
        cache /= f'{PY_TAG}-{self.pinned("torch").replace("==", "-")}'
        sources = {'MENET_MM_WHEELS': os.environ.get('MENET_MM_WHEELS'), 'the cache of earlier set-ups': str(cache)}
        for name, folder in sources.items():
            if folder and self._install_wheel(folder, f'{name} ({folder})'):
                return
        page = self.find_published()
        if page and self._install_wheel(page, f"{self.stack.mmcv}'s own wheels"):
            return
        say('mmcv is compiled, since no wheel fits')
        check_compiler()
        self._build_mmcv(cache)
        self.pip('install', '-q', '--no-deps', '--force-reinstall', str(next(cache.glob('*.whl'))))

    def _install_wheel(self, place: str, name: str) -> bool:
        """Install mmcv from a folder or page of wheels, and try its operators; says what came of it."""
        options = ('--no-deps', '--force-reinstall', '--only-binary', ':all:', '--no-index', '--no-cache-dir')
        limits = ('--timeout', '5', '--retries', '0')  # seconds, where the network is slow or absent
        wanted = self.pinned(self.stack.mmcv)
        if not self.ask('-m', 'pip', 'install', '-q', *options, *limits, '-f', place, wanted)[0]:
            say(f'no wheel of {wanted} for this Python in {name}')
            return False
        works, reason = self.ask('-c', OPERATORS)
        if works:
            say(f'mmcv from {name}: nothing is compiled')
            return True
        say(f'the wheel in {name} is left out, since its operators do not work here: {reason}')
        self.pip('uninstall', '-q', '-y', self.stack.mmcv)
        return False

    def find_published(self) -> str | None:
        """Find the page of published wheels for the torch and CUDA at hand, or None. The installer knows the address."""
        with tempfile.TemporaryDirectory() as folder:
            options = ('--no-deps', '--timeout', '5', '--retries', '0', '--target', folder)
            if not self.ask('-m', 'pip', 'install', '-q', *options, self.stack.installer)[0]:
                say(f'{self.stack.installer}, which knows where wheels are published, cannot be fetched')
                return None
            code = f'import runpy; print(runpy.run_path({folder!r} + "/mim/utils/default.py")["DEFAULT_MMCV_BASE_URL"])'
            base = os.environ.get('MMCV_BASE_URL') or self.ask('-c', code)[1]
        cuda = self.ask('-c', 'import torch; print(torch.version.cuda or "")')[1].replace('.', '')
        major, minor, *_ = self.ask('-c', 'import torch; print(torch.__version__)')[1].split('.')
        return self.stack.page.format(base=base, device=f'cu{cuda}' if cuda else 'cpu', major=major, minor=minor)

    def _build_mmcv(self, wheels: Path) -> None:
        build = ROOT / 'build' / f'mmcv-{PY_TAG}-{self.pinned("torch").replace("==", "-")}'
        archive = self.pinned(self.stack.mmcv).replace('-', '_').replace('==', '-')
        source = build / archive
        if not (source / 'setup.py').exists():
            build.mkdir(parents=True, exist_ok=True)
            # Without isolation, so that the build sees torch; otherwise it leaves the operators out without failing.
            download = ('--no-deps', '--no-build-isolation', '--no-binary', ':all:', '-d', str(build))
            self.pip('download', '-q', *download, self.pinned(self.stack.mmcv))
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
        self.pip('install', '-q', '-c', str(self.constraints), '-e', f'{ROOT}[{self.stack.extras}]')
        self.install_opencv()

    def install_extra(self, name: str) -> None:
        """Install what an extra of setup.cfg names, such as docs, which is quick if it is there."""
        setup = ConfigParser()
        setup.read(ROOT / 'setup.cfg')
        wanted = setup['options.extras_require'][name].split()
        if missing := [each for each in wanted if f'\n{each}==' not in self.constraints.read_text()]:
            stop(f'{self.constraints.name} has no version of {", ".join(missing)}: use the stack onedl')
        try:
            self.pip('install', '-q', '-c', str(self.constraints), *wanted)
        except subprocess.CalledProcessError as error:
            stop(f'pip failed with status {error.returncode}; its output is above. Run the same command again')

    def install_opencv(self) -> None:
        # Both builds of OpenCV arrive and overwrite each other, and the plain one needs libGL, which a server lacks.
        self.pip('install', '-q', '--no-deps', '--force-reinstall', self.pinned('opencv-python-headless'))

    def verify(self) -> None:
        self.run('-W', 'ignore', '-c', VERIFY)


def check_compiler() -> None:
    """Stop with a sentence if mmcv cannot be compiled here."""
    if not shutil.which(os.environ.get('CXX', 'g++')):
        stop('mmcv is compiled here, but there is no C++ compiler: install g++ (Debian, Ubuntu: apt install g++)')
    if not (Path(sysconfig.get_path('include')) / 'Python.h').exists():
        stop(
            'mmcv is compiled here, but Python.h is missing: install python3-dev (Debian, Ubuntu: apt install python3-dev)'
        )


def check_machine(path: Path, stack: Stack) -> None:
    """Stop with a sentence if something is missing that no later step could bring."""
    if sys.version_info[:2] not in stack.pythons:
        wanted = ' or '.join(f'{major}.{minor}' for major, minor in stack.pythons)
        stop(
            f'Python {wanted} is needed, but this is {sys.version.split()[0]}: run `make ... PYTHON=python{wanted[:4]}`'
        )
    if not (path / 'bin' / 'python').exists():
        free = shutil.disk_usage(ROOT).free / 1e9
        if free < NEEDED_GB:
            stop(
                f'the environment needs {NEEDED_GB} GB of disk, but {free:.1f} GB are free here: make room, or set VENV='
            )


def set_up(environment: Environment) -> None:
    """Take all steps, unless the environment was made from the files that are here."""
    sources = (environment.constraints, ROOT / 'setup.cfg', Path(__file__))
    recipe = hashlib.sha256(b''.join(f.read_bytes() for f in sources))
    if environment.stamp.exists() and environment.stamp.read_text() == recipe.hexdigest():
        return
    check_machine(environment.path, environment.stack)
    steps = (
        ('virtual environment', 'seconds', environment.create),
        ('torch and torchvision', '1 to 10 minutes, 3 GB to download', environment.install_torch),
        ('mmcv with its operators', 'seconds with a wheel, else 5 to 15 minutes on 2 cores', environment.install_mmcv),
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
    print(f'Ready. `source {os.path.relpath(environment.path)}/bin/activate` activates it.', flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('venv', type=Path, help='folder of the virtual environment')
    parser.add_argument('--stack', choices=STACKS, default='onedl', help="whose MM libraries: OneDL's or OpenMMLab's")
    parser.add_argument('--extra', choices=['docs', 'logging'], help='install this extra of setup.cfg, too')
    args = parser.parse_args()
    environment = Environment(args.venv.absolute(), args.stack)
    set_up(environment)
    if args.extra:
        environment.install_extra(args.extra)


if __name__ == '__main__':
    main()
