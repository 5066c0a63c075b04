"""What tools/new_project.py writes, and what it refuses; tests/engine/test_projects.py runs the commands that follow."""

import re
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
    lists = {split: (tmp_path / f'mine/{split}.txt').read_text().splitlines() for split in ('train', 'val', 'test')}
    assert len(lists['train']) == 9
    assert len(lists['val']) == 3
    assert lists['test'] == lists['val']
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
