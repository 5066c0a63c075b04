"""What the pages print works: every config on them is built, and commands name files that exist."""

import re
import runpy
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner

from menet_mm import InputError
from menet_mm.datasets.doctor.start import check_annotations, check_images

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / 'docs/index.md'
PAGES = sorted(
    [
        *(ROOT / 'README.md', ROOT / 'examples/downstream/README.md'),
        *ROOT.glob('docs/*.md'),
        *ROOT.glob('docs/api/*.md'),
        *ROOT.glob('studies/**/README.md'),
    ]
)
CONFIGS = {
    name: code
    for page in PAGES
    for code in re.findall(r'```python\n(.*?)```', page.read_text(), re.DOTALL)
    for name in re.findall(r'^# (configs/\w+\.py)$', code, re.MULTILINE)
}


@pytest.fixture
def printed(tmp_path, monkeypatch):
    """Load a config of a page, in a copy of the configs."""

    def load(name: str) -> Config:
        shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
        monkeypatch.chdir(tmp_path)
        Path(name).write_text(CONFIGS[name])
        return Config.fromfile(name)

    return load


@pytest.mark.parametrize('name', CONFIGS)
def test_configs_on_pages_are_built(printed, name):
    cfg = printed(name)
    init_default_scope(cfg.default_scope)
    assert MODELS.build(cfg.model).backbone is not None


@pytest.mark.parametrize('name', ['configs/fcos_menet256_voc.py', 'configs/faster_rcnn_r50_meplugin_mine.py'])
def test_networks_on_pages_train(printed, shapes, tmp_path, name):
    cfg = printed(name)
    cfg.work_dir = str(tmp_path / 'work')
    classes = ('circle', 'square', 'triangle', 'star')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        listed = 'trainval' if split == 'train' else 'test'
        loader.dataset.update(
            type='XMLDataset',
            data_root=f'{shapes}/',
            ann_file=f'VOC2007/ImageSets/Main/{listed}.txt',
            metainfo=dict(classes=classes),
            indices=2,
        )
        for step in loader.dataset.pipeline:
            if 'Resize' in step.type:
                step.scale = (128, 128)
    head = cfg.model.get('bbox_head') or cfg.model.roi_head.bbox_head
    head.num_classes = len(classes)
    cfg.merge_from_dict(
        {'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1, 'default_hooks.checkpoint.save_best': None}
    )
    if pretrained := cfg.model.backbone.get('init_cfg'):
        pytest.fail(f'{name} needs weights: {pretrained}')
    runner = Runner.from_cfg(cfg)
    before = {key: value.clone() for key, value in runner.model.named_parameters()}
    runner.train()
    assert any(not value.equal(before[key]) for key, value in runner.model.named_parameters())
    assert all(value.isfinite().all() for value in runner.model.parameters())


def write_own_data(shapes: Path) -> None:
    """Generated pictures as data/mine, laid out as docs/own_data.md says, with circles and squares as bolts and nuts."""
    mine = Path('data/mine')
    shutil.copytree(shapes / 'VOC2007/JPEGImages', mine / 'JPEGImages')
    (mine / 'Annotations').mkdir()
    for path in (shapes / 'VOC2007/Annotations').iterdir():
        text = path.read_text().replace('>circle<', '>bolt<').replace('>square<', '>nut<')
        (mine / 'Annotations' / path.name).write_text(text)
    for ours, theirs in (('train', 'trainval'), ('val', 'test')):
        shutil.copy(shapes / f'VOC2007/ImageSets/Main/{theirs}.txt', mine / f'{ours}.txt')


def test_own_data_in_voc_layout(printed, shapes):
    cfg = printed('configs/ssd_menet128_mine.py')
    init_default_scope('mmdet')
    with pytest.raises(InputError, match='data/mine/train.txt'):
        check_annotations(cfg.train_dataloader.dataset, cfg.data_hint)
    write_own_data(shapes)
    for split in ('train', 'val', 'test'):
        dataset_cfg = cfg[f'{split}_dataloader'].dataset
        check_annotations(dataset_cfg, cfg.data_hint)
        dataset = DATASETS.build(dataset_cfg)
        check_images(dataset)
        assert dataset.metainfo['classes'] == ('bolt', 'nut')
        instances = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        assert {one['bbox_label'] for found in instances for one in found} == {0, 1}
        assert len(dataset[0]['inputs']) == 3
    assert MODELS.build(cfg.model).bbox_head.num_classes == 2


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_commands_lead_somewhere(page):
    text = page.read_text()
    for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', text):
        if '://' not in target:
            assert (page.parent / target).exists(), target
            # Sphinx shows a folder's README, as code hosts do.
            assert not (page.parent / target).is_dir() or (page.parent / target / 'README.md').is_file(), target
    if page.parent.name != 'downstream':  # it runs the installed tools
        for script in re.findall(r'\b(?:python|bash) ((?:tools|configs)/[\w/]+\.(?:py|sh))', text):
            assert (ROOT / script).is_file(), script
        for config in re.findall(r'(?<![\w/])configs/\w+\.py', text):
            assert (ROOT / config).is_file() or config in CONFIGS, config


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page):
    for target, anchor in re.findall(r'\]\(([^)#:]*)#([^)]*)\)', page.read_text()):
        other = page.parent / target if target else page
        assert anchor in anchors(other), f'{target}#{anchor}'


def test_the_index_names_every_page():
    """Its lists are the side bar of the built pages."""
    named = {
        (INDEX.parent / target).resolve()
        for target in re.findall(r'^- \[.+?\]\((.+?)\)', INDEX.read_text(), re.MULTILINE)
    }
    assert set(PAGES) - named == {INDEX}


def test_pictures_of_the_network_are_what_the_code_draws():
    for name, text in runpy.run_path(str(ROOT / 'docs/draw_network.py'))['render']().items():
        assert (ROOT / 'docs/images' / name).read_text() == text, f'{name}: run docs/draw_network.py'


def test_no_page_is_long():
    long = {page.name: lines for page in PAGES if (lines := len(page.read_text().splitlines())) > 200}
    assert not long
