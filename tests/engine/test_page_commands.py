"""Every command on the pages, in their order, in a folder that looks like the reader's; or ABSENT says what it needs.

Trainings are cut to an epoch of small batches without workers, sets to a dozen generated pictures. Nothing else is changed.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ['README.md', *sorted(f'docs/{path.name}' for path in ROOT.glob('docs/*.md'))]
#: What readers put in the place of words in capitals.
PLACEHOLDERS = {
    'docs/configs.md': dict(NAME='ssd_menet228_shapes', epoch_N='epoch_10'),
    'docs/reliability.md': dict(CONFIG='configs/ssd_menet228_shapes.py'),
    'docs/report.md': dict(CONFIG='configs/ssd_menet228_voc.py', CHECKPOINT='work_dirs/ssd_menet228_voc/epoch_240.pth'),
    'docs/training.md': dict(
        **{'menet108_in1k.py CHECKPOINT': 'menet108_in1k.py work_dirs/weights/menet108.pth'},
        CONFIG='configs/ssd_menet228_voc.py',
        CHECKPOINT='work_dirs/ssd_menet228_voc/epoch_240.pth',
        GPUS='2',
        FILE='work_dirs/menet228_in1k/epoch_120.pth',
        DIR='data/imagenet',
    ),
}
#: Beginnings of the commands that cannot run here, by what they need.
ABSENT = {
    'a network': (
        'curl ',
        'git clone ',
        'pip install ',
        'MMCV_WITH_OPS=1 pip install ',
        'python tools/download_voc.py',
        'PLACE=',
        'python -m zipfile -e hymenoptera_data.zip',
        'python tools/convert_checkpoint.py $PLACE',
    ),
    'data that is downloaded': (
        'python -m studies.subsets ',
        'python -m studies studies/configs/tiny_imagenet_100.py --jobs',
        'python -m studies studies/configs/tiny_imagenet_100.py --models',
    ),
    'a camera': ('python tools/infer.py 0 ', 'python tools/infer.py rtsp:'),
    'a cluster': ('GPUS=16 bash tools/slurm_', 'GPUS=8 bash tools/slurm_'),
    'a reader who stops it': ('tensorboard ', 'mlflow ui '),
    'a shell that stays': ('source ',),
    'what runs these tests': (
        'make setup',
        'make lint',
        'make test',
        'make docs',
        'OMP_NUM_THREADS=1 .venv/bin/python -m pytest',
    ),
    'hours': ('python -m benchmarks ',),
}


def read_commands(page: str) -> list[str]:
    blocks = re.findall(r'```bash\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)
    lines = [line for block in blocks for line in block.replace('\\\n', ' ').splitlines()]
    return [line.strip() for line in lines if line.strip() and not line.startswith('#')]


def needs(line: str) -> str | None:
    return next((what for what, starts in ABSENT.items() if line.startswith(starts)), None)


COMMANDS = {page: lines for page in PAGES if (lines := read_commands(page))}


class Reader:
    """Somebody who follows a page, in a folder with what the pages speak of."""

    def __init__(self, folder: Path, command: Callable, home: Path) -> None:
        self.folder, self.command = folder, command
        shutil.copytree(home, folder, symlinks=True, dirs_exist_ok=True)
        self.environment = os.environ | dict(
            PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}', PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'
        )

    def run(self, line: str) -> None:
        """Run a command that may name files of other pages."""
        for name in re.findall(r'work_dirs/(\w+)/last_checkpoint', line):
            self.bring_training(f'configs/{name}.py')
        line = re.sub(r'\$\(cat (\S+)\)', lambda match: (self.folder / match[1]).read_text(), line)
        words = shlex.split(line, comments=True)
        self.bring_checkpoints(words)
        if is_training(words[:2]) and '--resume' not in words:  # readers choose one of a page's trainings
            shutil.rmtree(self.folder / 'work_dirs' / Path(words[2]).stem, ignore_errors=True)
        if words[1:2] == ['tools/demo.py']:
            with socket.socket() as free:
                free.bind(('127.0.0.1', 0))
                port = free.getsockname()[1]
            started = self.command.start('demo.py', *words[2:], '--port', port, folder=self.folder)
            self.command.until(started, 'http://127.0.0.1:')
            self.command.stop(started, signal.SIGINT)
        elif words[0] == 'python' and words[1].startswith('tools/'):
            self.command(Path(words[1]).name, *shorten(words[2:], words[1]), folder=self.folder)
            if words[1] == 'tools/new_project.py':
                shorten_project(self.folder / words[words.index('--out') + 1])
        else:
            plain = ' '.join(map(shlex.quote, shorten(words, words[1]))) if words[0] == 'bash' else line
            done = subprocess.run(
                ['bash', '-ec', plain],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, done.stdout

    def bring_checkpoints(self, words: list[str]) -> None:
        """Train the command's config, where it names a checkpoint that the page does not make, or an epoch that is cut."""
        for word in words:
            path = self.folder / word.rpartition('=')[2]
            if re.fullmatch(r'work_dirs/\w+_s\d', word) and not path.exists():
                shutil.copytree(self.folder / 'work_dirs/ssd_menet228_voc', path)
            if re.fullmatch(r'epoch_\d+\.pth', path.name) and not path.exists():
                named = [f'configs/{path.parent.name}.py', *words[2:]]
                checkpoint = self.bring_training(next(name for name in named if self.is_config(name)))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.symlink_to(checkpoint)

    def is_config(self, name: str) -> bool:
        return any((self.folder / path).is_file() for path in (name, f'configs/{name}.py') if path.endswith('.py'))

    def bring_training(self, config: str) -> Path:
        """Train a config, unless that was done; returns the checkpoint."""
        work_dir = self.folder / 'work_dirs' / Path(config).stem
        if not (work_dir / 'last_checkpoint').exists():
            self.run(f'python tools/train.py {config}')
        return work_dir / (work_dir / 'last_checkpoint').read_text()


def is_training(words: list[str]) -> bool:
    return words[-1:] in (['tools/train.py'], ['tools/dist_train.sh'])


def shorten(words: list[str], tool: str) -> list[str]:
    """Let a training take an epoch of small batches, and draw few pictures."""
    if tool.endswith('make_shapes.py'):
        return [*words, '--train', '12', '--test', '6']
    if not is_training([tool]):
        return words
    cut = ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=2']
    cut += [f'{split}_dataloader.num_workers=0' for split in ('train', 'val')]
    cut += [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val')]
    if '--cfg-options' not in words:
        return [*words, '--cfg-options', *cut]
    end = words.index('--cfg-options') + 1
    while end < len(words) and not words[end].startswith('--'):
        end += 1
    return [*words[:end], *cut, *words[end:]]


def shorten_project(folder: Path) -> None:
    for config in folder.glob('*.py'):
        config.write_text(re.sub(r'max_epochs=\d+, val_interval=\d+', 'max_epochs=1', config.read_text()))


def write_voc(shapes: Path, folder: Path) -> None:
    """Generated pictures under names of VOC's classes, as VOC 2007 and 2012."""
    for year in ('VOC2007', 'VOC2012'):
        shutil.copytree(shapes / 'VOC2007', folder / year)
        for path in (folder / year / 'Annotations').iterdir():
            text = path.read_text()
            for ours, theirs in dict(circle='cat', square='dog', triangle='cow', star='car').items():
                text = text.replace(f'>{ours}<', f'>{theirs}<')
            path.write_text(text)
        lists = folder / year / 'ImageSets/Main'
        shutil.copy(lists / 'trainval.txt', lists / 'train.txt')
        shutil.copy(lists / 'test.txt', lists / 'val.txt')


def write_imagenet(shapes: Path, folder: Path) -> None:
    """A folder for each of 1,000 classes, eight pictures in two of them, and the list that docs/training.md speaks of."""
    for split in ('train', 'val'):
        for label in range(1000):
            (folder / split / f'n{label:08}').mkdir(parents=True)
    (folder / 'images').mkdir()
    lines = []
    for index, picture in enumerate(sorted((shapes / 'VOC2007/JPEGImages').iterdir())[:8]):
        for target in (f'train/n{index % 2:08}', f'val/n{index % 2:08}', 'images'):
            shutil.copy(picture, folder / target)
        lines.append(f'{picture.name} {index % 2}\n')
    (folder / 'val.txt').write_text(''.join(lines))


def write_mine(shapes: Path, folder: Path) -> None:
    """Generated pictures as docs/own_data.md lays them out, with circles and squares as bolts and nuts."""
    shutil.copytree(shapes / 'VOC2007/JPEGImages', folder / 'JPEGImages')
    (folder / 'Annotations').mkdir()
    for path in (shapes / 'VOC2007/Annotations').iterdir():
        text = path.read_text().replace('>circle<', '>bolt<').replace('>square<', '>nut<')
        for other in ('triangle', 'star'):
            text = re.sub(rf'<object>\s*<name>{other}</name>.*?</object>', '', text, flags=re.DOTALL)
        (folder / 'Annotations' / path.name).write_text(text)
    for ours, theirs in (('train', 'trainval'), ('val', 'test')):
        shutil.copy(shapes / f'VOC2007/ImageSets/Main/{theirs}.txt', folder / f'{ours}.txt')


def write_insects(shapes: Path, folder: Path) -> None:
    """What the tutorial's archive holds: two classes, in folders for training and validation."""
    for index, picture in enumerate(sorted((shapes / 'VOC2007/JPEGImages').iterdir())[:10]):
        target = folder / ('val' if index < 2 else 'train') / ('ants', 'bees')[index % 2]
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, target)


@pytest.fixture(scope='module')
def home(tmp_path_factory, shapes, shared) -> Path:
    """A checkout, with the data that pages fetch or speak of beside it."""
    folder = tmp_path_factory.mktemp('reader') / 'home'
    for name in ('configs', 'studies', 'docs', 'examples'):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    (folder / 'tools').symlink_to(ROOT / 'tools')
    (folder / 'menet_mm').symlink_to(ROOT / 'menet_mm')
    shutil.copy(ROOT / 'Makefile', folder)
    for page in PAGES:
        for code in re.findall(r'```python\n(# (configs/\w+\.py)\n.*?)```', (ROOT / page).read_text(), re.DOTALL):
            (folder / code[1]).write_text(code[0])
    write_voc(shapes, folder / 'data/VOCdevkit')
    write_imagenet(shapes, folder / 'data/imagenet')
    write_mine(shapes, folder / 'data/mine')
    write_insects(shapes, folder / 'data/hymenoptera_data')
    shutil.copytree(shapes, folder / 'data/shapes')
    shutil.copytree(shapes / 'VOC2007', folder / 'data/cells/BCCD')
    shutil.copytree(shapes / 'VOC2007/JPEGImages', folder / 'photos')
    video = cv2.VideoWriter(str(folder / 'street.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (320, 240))
    for shade in range(0, 250, 50):
        video.write(np.full((240, 320, 3), shade, np.uint8))
    video.release()
    for weights in (shared / 'weights').iterdir():
        (folder / weights.name).symlink_to(weights)
    return folder


@pytest.fixture(scope='module')
def furnished(home, command, tmp_path_factory) -> Path:
    """With converted weights and an exported detector, which most pages take as given."""
    reader = Reader(tmp_path_factory.mktemp('furnished'), command, home)
    for number, rest in ((108, '3'), (128, '4')):
        reader.run(
            f'python tools/convert_checkpoint.py {number}-MENet-8x1-group-{rest}.pth.tar work_dirs/weights/menet{number}.pth'
        )
    config = 'configs/ssd_menet108_voc12.py'
    for runtime in ('onnx', 'openvino'):
        end = dict(onnx='onnx', openvino='xml')[runtime]
        reader.run(
            f'python tools/export.py {config} work_dirs/ssd_menet108_voc12/epoch_30.pth --to {runtime} --out ssd.{end}'
        )
    shutil.rmtree(reader.folder / 'work_dirs/ssd_menet108_voc12')
    return reader.folder


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.timeout(1500)  # one page has twenty commands
@pytest.mark.parametrize('page', [page for page, lines in COMMANDS.items() if not all(map(needs, lines))])
def test_commands_of_a_page_run(page, furnished, command, tmp_path):
    reader = Reader(tmp_path, command, furnished)
    for line in COMMANDS[page]:
        for word, value in PLACEHOLDERS.get(page, {}).items():
            line = re.sub(rf'(?<!\w){word}(?![\w=])', value, line)
        line = re.sub(r' \[options of \w+\.py\]', '', line)
        if line.startswith('make quickstart'):
            # These tests may be run by make, which would announce itself in the plan.
            quiet = {key: value for key, value in os.environ.items() if not key.startswith('MAKE')}
            plan = subprocess.run(
                ['make', '-n', 'quickstart', 'BIN='],
                cwd=tmp_path,
                env=quiet,
                capture_output=True,
                text=True,
                check=True,
            )
            for step in plan.stdout.replace('\\\n', ' ').splitlines():
                if 'setup_env.py' not in step:
                    reader.run(step.removeprefix('/'))
        elif not needs(line):
            reader.run(line)


def test_what_is_absent_is_on_a_page():
    lines = [line for page in COMMANDS.values() for line in page]
    for starts in ABSENT.values():
        for start in starts:
            assert any(line.startswith(start) for line in lines), start
