"""Every command of docs/tutorial.md, in its order, on pictures laid out as those that it fetches."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / 'docs/tutorial.md'
COMMANDS = [
    line for block in re.findall(r'```bash\n(.*?)```', PAGE.read_text(), re.DOTALL) for line in block.splitlines()
]


def bring_cells(shapes: Path, _: Path) -> None:
    """What git would clone."""
    shutil.copytree(shapes / 'VOC2007', 'data/cells/BCCD')


def bring_insects(_: Path, labelled_sets: Path) -> None:
    """What the archive holds: two classes, in folders for training and validation."""
    for place, name in enumerate(('ants', 'bees')):
        pictures = sorted(sorted((labelled_sets / 'folders').iterdir())[place].iterdir())
        for index, picture in enumerate(pictures):
            folder = Path('data/hymenoptera_data', 'val' if index == 0 else 'train', name)
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, folder)


FETCHES = {
    'git clone https://github.com/Shenggan/BCCD_Dataset data/cells': bring_cells,
    'python -m zipfile -e hymenoptera_data.zip data': bring_insects,
}


def read_notes(line: str) -> str:
    """Do as the shell does with ``$(cat FILE)``."""
    return re.sub(r'\$\(cat (\S+)\)', lambda match: Path(match[1]).read_text(), line)


@pytest.mark.slow
@pytest.mark.export
def test_the_tutorial(command, shapes, labelled_sets, shared, monkeypatch):
    monkeypatch.chdir(command.folder)
    (weights,) = (shared / 'weights').glob('128-*')
    Path(weights.name).symlink_to(weights)
    said = []
    for line in COMMANDS:
        if line in FETCHES:
            FETCHES[line](shapes, labelled_sets)
        elif not line.startswith('curl '):
            python, tool, *arguments = shlex.split(read_notes(line))
            assert (python, Path(tool).parent.name) == ('python', 'tools'), line
            said.append(command(Path(tool).name, *arguments))
        if '--out cells' in line or '--out insects' in line:  # one epoch will do
            for config in (*Path('cells').glob('*.py'), *Path('insects').glob('*.py')):
                config.write_text(re.sub(r'max_epochs=\d+, val_interval=\d+', 'max_epochs=1', config.read_text()))
    for path in ('cells.html', 'sheet.jpg', 'work_dirs/cells/report/detections.png', 'cells.onnx.json', 'insects.onnx'):
        assert Path(path).is_file(), path
    assert 'pascal_voc/mAP' in ''.join(said)
    assert 'accuracy/top1' in ''.join(said)
