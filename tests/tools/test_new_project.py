"""From a folder of labelled pictures through every command that follows, without an edit."""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from menet_mm.datasets.labels import Labels
from menet_mm.datasets.reading import read_labels, write_labels
from menet_mm.datasets.shapes import make_shapes

SHORT = [
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
    'param_scheduler.0.end=1',
    'train_dataloader.batch_size=4',
]
SHORT += [f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')]
SHORT += [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')]
NAMES = dict(circle='traffic light', square='été', triangle='猫', star="o'clock")


def rename(labels: Labels, names: dict[str, str]) -> Labels:
    for picture in labels.pictures.values():
        picture.boxes = [replace(box, name=names[box.name]) for box in picture.boxes]
        picture.label = picture.boxes[0].name
    labels.classes = sorted(set(names.values()))
    return labels


@pytest.fixture(scope='module')
def sets(tmp_path_factory) -> Path:
    """Twelve pictures in several formats, without splits, with names of classes that people use."""
    root = tmp_path_factory.mktemp('sets')
    make_shapes(root / 'shapes', train=11, test=1)
    labels = rename(read_labels(root / 'shapes/VOC2007')[0], NAMES)
    labels.splits = {}
    for form in ('yolo', 'coco', 'folders'):
        write_labels(labels, root / form, form)
    path = root / 'coco/annotations/all.json'
    content = json.loads(path.read_text())
    for entry in content['images']:
        entry['id'] = f'image {entry["id"] * 7}'
    for entry in content['annotations']:
        entry.update(image_id=f'image {entry["image_id"] * 7}', category_id=entry['category_id'] * 10)
        del entry['area'], entry['iscrowd']
    content['categories'] = [dict(id=0, name='root'), *(dict(c, id=c['id'] * 10) for c in content['categories'])]
    path.write_text(json.dumps(content))
    write_labels(rename(labels, dict.fromkeys(NAMES.values(), 'thing')), root / 'single', 'yolo')
    return root


def commands(said: str) -> list[list[str]]:
    """The commands that new_project prints: a tool's name and its arguments."""
    words = [shlex.split(line)[1:] for line in said.splitlines() if line.startswith('  python ')]
    return [[Path(tool).name, *arguments] for tool, *arguments in words]


@pytest.mark.slow
@pytest.mark.export
@pytest.mark.parametrize('name', ['yolo', 'coco', 'single', 'folders'])
def test_the_commands_that_are_printed_work_without_an_edit(tool_here, sets, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    train, test, export = commands(tool_here('new_project.py', sets / name, '--out', f'my {name}'))
    config, checkpoint = Path(train[1]), Path(test[2])
    assert sorted(path.name for path in config.parent.iterdir()) == sorted(
        ['README.md', config.name, 'test.txt', 'train.txt', 'val.txt']
    )
    log = tool_here(*train, '--cfg-options', *SHORT)
    assert 'error' not in log
    last = checkpoint.with_name('epoch_1.pth')
    last.replace(checkpoint)
    tool_here(*test, '--cfg-options', *SHORT)
    if name != 'folders':
        report = tool_here('report.py', config, checkpoint.parent / 'predictions.pkl', '--work-dir', checkpoint.parent)
        assert ('thing' if name == 'single' else 'traffic light') in report
    assert 'differ from PyTorch by up to' in tool_here(*export)
    pictures = next((sets / name).rglob('*.jpg')).parent
    found = {}
    for source in (['--config', config, '--weights', checkpoint], ['--model', export[-1]]):
        tool_here('infer.py', pictures, *source, '--json', 'found.json')
        found[source[0]] = json.loads(Path('found.json').read_text())
    names = ['thing'] if name == 'single' else sorted(NAMES.values())
    assert list(found['--config']['classes']) == list(found['--model']['classes']) == names
    assert not found['--config']['skipped']


def test_what_is_written_fits_the_data(tool_here, sets, tmp_path):
    said = tool_here('new_project.py', sets / 'yolo', '--out', tmp_path / 'mine', '--arch', 'menet108', '--val', '0.25')
    (config,) = (tmp_path / 'mine').glob('*.py')
    cfg = Config.fromfile(config)
    lists = {split: (tmp_path / f'mine/{split}.txt').read_text().splitlines() for split in ('train', 'val', 'test')}
    assert len(lists['train']) == 9
    assert len(lists['val']) == 3
    assert lists['test'] == lists['val']
    assert not set(lists['train']) & set(lists['val'])
    assert all((sets / 'yolo' / name).is_file() for name in lists['train'])
    assert cfg.model.backbone.arch == '108-8x1-g3'
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.metainfo.classes == tuple(sorted(NAMES.values()))
    iterations = cfg.train_cfg.max_epochs * (9 // cfg.train_dataloader.batch_size)
    assert cfg.param_scheduler[0].end <= iterations / 10
    assert {'train: 9 pictures', 'val: 3 pictures'} <= set(re.findall(r'\w+: \d+ pictures', said))
    text = (tmp_path / 'mine/README.md').read_text()
    assert [Path(line.split()[1]).name for line in text.splitlines() if line.startswith('python ')] == [
        'train.py',
        'test.py',
        'export.py',
    ]


def test_weights_are_taken_and_looked_at(tool_here, sets, menet108, tmp_path):
    tool_here(
        'new_project.py', sets / 'folders', '--out', tmp_path / 'mine', '--weights', menet108, '--arch', 'menet108'
    )
    cfg = Config.fromfile(tmp_path / 'mine/mine.py')
    assert cfg.model.backbone.init_cfg.checkpoint == str(menet108)
    assert cfg.model.head.num_classes == 4
    assert cfg.val_evaluator.topk == (1,)
    torch.save(dict(state_dict={'features.init.weight': torch.zeros(1)}), tmp_path / 'theirs.pth')
    with pytest.raises(SystemExit, match='convert_checkpoint'):
        tool_here('new_project.py', sets / 'folders', '--out', tmp_path / 'other', '--weights', tmp_path / 'theirs.pth')


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (['{tmp}/nowhere', '--out', '{tmp}/x'], 'no data set'),
        (['{sets}/yolo', '--out', '{sets}'], 'exists already'),
        (['{sets}/yolo', '--out', '{tmp}/x', '--val', '1'], '--val'),
        (['{sets}/shapes', '--out', '{tmp}/x'], '--format'),
        (['{sets}/yolo', '--out', '{tmp}/x', '--format', 'csv'], 'no labelled pictures'),
        (['{sets}/yolo', '--out', '{tmp}/x', '--weights', '{tmp}/none.pth'], 'none.pth'),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(tool_here, sets, tmp_path, arguments, expected):
    with pytest.raises(SystemExit, match=f'^error: .*{expected}'):
        tool_here('new_project.py', *(text.format(tmp=tmp_path, sets=sets) for text in arguments))
    assert not list(tmp_path.iterdir())


def test_damaged_pictures_are_left_out_with_a_line(tool_here, sets, tmp_path):
    labels = read_labels(sets / 'coco')[0]
    write_labels(labels, tmp_path / 'set', 'coco')
    damaged = next((tmp_path / 'set').rglob('*.jpg'))
    damaged.write_bytes(damaged.read_bytes()[:500])
    said = tool_here('new_project.py', tmp_path / 'set', '--out', tmp_path / 'mine')
    assert re.search(rf'pictures cannot be decoded.*: 1 .*{damaged.name}', said)
    assert damaged.name not in (tmp_path / 'mine/train.txt').read_text() + (tmp_path / 'mine/val.txt').read_text()
