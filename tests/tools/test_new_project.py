"""What tools/new_project.py writes, and what it refuses; tests/engine/test_projects.py runs the commands that follow."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from PIL import Image

from menet_mm.datasets.reading import read_labels, write_labels


def test_what_is_written_fits_the_data(tool_here, labelled_sets, tmp_path):
    said = tool_here(
        'new_project.py', labelled_sets / 'yolo', '--out', tmp_path / 'mine', '--arch', 'menet108', '--val', '0.25'
    )
    (config,) = (tmp_path / 'mine').glob('*.py')
    cfg = Config.fromfile(config)
    lists = {split: (tmp_path / f'mine/{split}.txt').read_text().splitlines() for split in ('train', 'val')}
    assert len(lists['train']) == 9
    assert len(lists['val']) == 3
    assert cfg.test_dataloader.dataset.ann_file == cfg.val_dataloader.dataset.ann_file
    assert 'test: the same pictures as val' in said
    # What has just been made is not accused of testing on one set twice.
    assert 'two splits' not in tool_here('check_data.py', tmp_path / 'mine/mine.py')
    assert not set(lists['train']) & set(lists['val'])
    assert all((labelled_sets / 'yolo' / name).is_file() for name in lists['train'])
    assert cfg.model.backbone.arch == '108-8x1-g3'
    assert cfg.model.backbone.init_cfg is None
    assert cfg.train_dataloader.dataset.metainfo.classes == ("o'clock", 'traffic light', 'été', '猫')
    iterations = cfg.train_cfg.max_epochs * (9 // cfg.train_dataloader.batch_size)
    assert cfg.param_scheduler[0].end <= iterations / 10
    assert {'train: 9 pictures', 'val: 3 pictures'} <= set(re.findall(r'\w+: \d+ pictures', said))
    text = (tmp_path / 'mine/README.md').read_text()
    assert [Path(line.split()[1]).name for line in text.splitlines() if line.startswith('python ')] == [
        'train.py',
        'test.py',
        'export.py',
        'report.py',
        'infer.py',
    ]


def test_weights_are_taken_and_looked_at(tool_here, labelled_sets, menet108, tmp_path):
    tool_here(
        'new_project.py',
        labelled_sets / 'folders',
        '--out',
        tmp_path / 'mine',
        '--weights',
        menet108,
        '--arch',
        'menet108',
    )
    cfg = Config.fromfile(tmp_path / 'mine/mine.py')
    assert cfg.model.backbone.init_cfg.checkpoint == str(menet108)
    assert cfg.model.head.num_classes == 4
    assert cfg.val_evaluator.topk == (1,)
    with pytest.raises(SystemExit, match='108-8x1-g3, not of menet128'):
        tool_here('new_project.py', labelled_sets / 'folders', '--out', tmp_path / 'other', '--weights', menet108)
    torch.save(dict(state_dict={'features.init.weight': torch.zeros(1)}), tmp_path / 'theirs.pth')
    with pytest.raises(SystemExit, match='convert_checkpoint'):
        tool_here(
            'new_project.py',
            labelled_sets / 'folders',
            '--out',
            tmp_path / 'other',
            '--weights',
            tmp_path / 'theirs.pth',
        )


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
def test_what_cannot_work_is_refused_and_leaves_nothing(tool_here, labelled_sets, tmp_path, arguments, expected):
    with pytest.raises(SystemExit, match=f'^error: .*{expected}'):
        tool_here('new_project.py', *(text.format(tmp=tmp_path, sets=labelled_sets) for text in arguments))
    assert not list(tmp_path.iterdir())


def test_damaged_pictures_are_left_out_with_a_line(tool_here, labelled_sets, tmp_path):
    labels = read_labels(labelled_sets / 'coco')[0]
    write_labels(labels, tmp_path / 'set', 'coco')
    damaged = next((tmp_path / 'set').rglob('*.jpg'))
    damaged.write_bytes(damaged.read_bytes()[:500])
    said = tool_here('new_project.py', tmp_path / 'set', '--out', tmp_path / 'mine')
    assert re.search(rf'pictures cannot be decoded.*: 1 .*{damaged.name}', said)
    assert damaged.name not in (tmp_path / 'mine/train.txt').read_text() + (tmp_path / 'mine/val.txt').read_text()


@pytest.mark.parametrize(('side', 'finer'), [(0.04, True), (0.3, False)])
def test_small_boxes_get_a_finer_map(tool_here, labelled_sets, tmp_path, side, finer):
    labels = read_labels(labelled_sets / 'coco')[0]
    for picture in labels.pictures.values():
        for place, box in enumerate(picture.boxes):
            x, length = place * 8, side * Image.open(picture.path).width
            box.x1, box.y1, box.x2, box.y2 = x, x, x + length, x + length
    write_labels(labels, tmp_path / 'set', 'coco')
    said = tool_here('new_project.py', tmp_path / 'set', '--out', tmp_path / 'mine')
    assert ('a map of stride 8 is added' in said) == finer
    model = Config.fromfile(tmp_path / 'mine/mine.py').model
    assert model.backbone.out_indices == ((0, 1, 2) if finer else (1, 2))
    assert model.bbox_head.anchor_generator.strides[0] == (8 if finer else 16)


def test_a_class_in_two_spellings_is_said_and_becomes_one(tool_here, labelled_sets, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(labelled_sets / 'yolo', root)
    names = next(root.glob('*.y*ml'))
    names.write_text(names.read_text().replace('traffic light', 'Été'))
    said = tool_here('new_project.py', root, '--out', tmp_path / 'two')
    # Of a pair, the rarer name is the one to change, for the check, too.
    rarer, other = re.search(r'--rename .?(\w+)=(\w+)', said).groups()
    accused = tool_here('check_data.py', root)
    assert f'{rarer!r}: {other!r} is meant' in accused
    assert f'{other!r}: {rarer!r} is meant' not in accused
    option = re.search(r"--rename '?(\w+=\w+)'? makes them one", said)[1]
    assert option in ('Été=été', 'été=Été')
    assert 'makes them one' not in tool_here('new_project.py', root, '--out', tmp_path / 'one', '--rename', option)
    cfg = Config.fromfile(tmp_path / 'one/one.py')
    kept = option.partition('=')[2]
    assert cfg.train_dataloader.dataset.metainfo.classes == tuple(sorted(["o'clock", kept, '猫']))
    before, after = (read_labels(root, 'yolo', rename)[0].counts() for rename in (None, dict([option.split('=')])))
    assert after[kept] == before['Été'] + before['été'] > before[kept]
    assert 'another spelling' not in tool_here('check_data.py', tmp_path / 'one/one.py')
    for words, text in (
        (['Auto=car'], "no class 'Auto' to rename"),
        (['Auto'], 'takes pairs'),
        (['a=b', 'a=c'], 'each name once'),
    ):
        with pytest.raises(SystemExit, match=text):
            tool_here('new_project.py', root, '--out', tmp_path / 'none', '--rename', *words)
    assert not (tmp_path / 'none').exists()


def test_copies_are_said_and_stay_together(tool_here, labelled_sets, tmp_path):
    root = tmp_path / 'data'
    shutil.copytree(labelled_sets / 'yolo', root)
    stem = next(root.rglob('*.jpg')).stem
    for path in list(root.rglob(f'{stem}.*')):
        shutil.copy(path, path.with_stem('another'))
    said = tool_here('new_project.py', root, '--out', tmp_path / 'mine')
    assert 'nearly the same as another one: 1 (the first: ' in said
    lists = [(tmp_path / 'mine' / f'{split}.txt').read_text() for split in ('train', 'val')]
    assert sum(stem in text and 'another' in text for text in lists) == 1
