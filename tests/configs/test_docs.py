"""The config for one's own data that docs/training.md prints, with a data set of the layout that it prints."""

import re
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

from menet_mm.datasets.doctor import check_annotations, check_images
from menet_mm.errors import InputError


@pytest.fixture
def printed(monkeypatch, tmp_path) -> Config:
    page = Path('docs/training.md').read_text()
    section = page.split('### Your own data', 1)[1].split('\n## ')[0]
    name, code = re.search(r'`(configs/\w+\.py)`:\n\n```python\n(.*?)```', section, re.DOTALL).groups()
    shutil.copytree('configs', tmp_path / 'configs')
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(code)
    return Config.fromfile(name)


def write_data(shapes: Path) -> None:
    """Generated pictures as data/mine, with circles and squares as bolts and nuts."""
    mine = Path('data/mine')
    shutil.copytree(shapes / 'VOC2007/JPEGImages', mine / 'JPEGImages')
    (mine / 'Annotations').mkdir()
    for path in (shapes / 'VOC2007/Annotations').iterdir():
        text = path.read_text().replace('>circle<', '>bolt<').replace('>square<', '>nut<')
        (mine / 'Annotations' / path.name).write_text(text)
    for ours, theirs in (('train', 'trainval'), ('val', 'test')):
        shutil.copy(shapes / f'VOC2007/ImageSets/Main/{theirs}.txt', mine / f'{ours}.txt')


def test_own_data_in_voc_layout(printed, shapes):
    init_default_scope('mmdet')
    with pytest.raises(InputError, match='data/mine/train.txt does not exist; export it from the labelling tool'):
        check_annotations(printed.train_dataloader.dataset, printed.data_hint)
    write_data(shapes)
    for split in ('train', 'val', 'test'):
        cfg = printed[f'{split}_dataloader'].dataset
        check_annotations(cfg, printed.data_hint)
        dataset = DATASETS.build(cfg)
        check_images(dataset)
        assert dataset.metainfo['classes'] == ('bolt', 'nut')
        instances = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        assert {one['bbox_label'] for found in instances for one in found} == {0, 1}
        assert len(dataset[0]['inputs']) == 3
    assert MODELS.build(printed.model).bbox_head.num_classes == 2
