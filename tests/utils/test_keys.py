"""Misspelt keys are refused with the nearest right name, and nothing else is."""

import random
import shutil
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from menet_mm import InputError
from menet_mm.utils.keys import check_keys

ROOT = Path(__file__).resolve().parent.parent.parent
SSD = ROOT / 'configs/ssd_menet228_voc.py'


@pytest.fixture(scope='module', autouse=True)
def libraries():
    """What a command imports before it checks."""
    import mmpretrain.datasets  # noqa: F401


@pytest.mark.parametrize(
    ('option', 'value', 'hint'),
    [
        ('model.bacbone.arch', '228', 'did you mean model.backbone?'),
        ('model.backbone.arc', '228', 'did you mean model.backbone.arch?'),
        ('model.backbone.colour', 1, 'it takes act_cfg, arch, '),
        ('model.neck.norm_cf.type', 'BN', 'did you mean model.neck.norm_cfg?'),
        ('model.test_cfg.nms_pr', 100, 'did you mean model.test_cfg.nms_pre?'),
        ('train_cfg.max_epoch', 2, 'did you mean train_cfg.max_epochs?'),
        ('train_dataloader.batchsize', 2, 'did you mean train_dataloader.batch_size?'),
        ('val_dataloader.dataset.anno_file', 'x', 'did you mean val_dataloader.dataset.ann_file?'),
        ('default_hooks.loger.interval', 1, 'did you mean default_hooks.logger?'),
        ('randomness.sed', 1, 'did you mean randomness.seed?'),
        ('lr', 0.1, 'did you mean optim_wrapper.optimizer.lr?'),
        ('optim_wrapper.optimizer.lr', 'abc', "of SGD must be a number, but is 'abc'"),
        ('optim_wraper.optimizer.lr', 3, 'did you mean optim_wrapper.optimizer.lr?'),
        ('train_cfgg.max_epochs', 2, 'did you mean train_cfg.max_epochs?'),
        ('param_scheduler.2.end', 3, 'is a list of 2, counted from 0'),
        ('model.backbone.arch.depth', 3, "is '228-12x1-g3' in the config and has no keys of its own"),
        # A variable of the file: the config has been computed from it before the option comes.
        ('data_root', 'x', 'did you mean train_dataloader.dataset.data_root?'),
        ('dataset_type', 'x', 'nothing reads it'),
    ],
)
def test_an_option_that_nothing_reads(option, value, hint):
    with pytest.raises(InputError) as refused:
        check_keys(Config.fromfile(SSD), {option: value})
    assert hint in str(refused.value)
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize(
    ('option', 'value'),
    [
        ('model.backbone.arch', '108-8x1-g3'),
        ('model.backbone.init_cfg.type', 'Pretrained'),
        ('model.neck.norm_cfg.eps', 1e-3),
        ('train_cfg.val_begin', 3),  # a parameter of the class that the config leaves alone
        ('train_dataloader.dataset.indices', 4),
        ('train_dataloader.dataset.pipeline.3.scale', (192, 192)),
        ('val_dataloader.dataset.metainfo.palette', [(0, 0, 0)]),
        ('param_scheduler.1.end', 12),
        ('optim_wrapper.loss_scale', 512.0),  # with --amp
        ('optim_wrapper.paramwise_cfg.norm_decay_mult', 0.0),
        ('model_wrapper_cfg.find_unused_parameters', True),
        ('custom_hooks.0.priority', 'LOW'),
        ('load_from', 'x.pth'),
        ('data_hint', 'x'),
    ],
)
def test_an_option_that_something_reads(option, value):
    check_keys(Config.fromfile(SSD), {option: value})


@pytest.mark.parametrize(
    ('line', 'hint'),
    [
        ("model = dict(bacbone=dict(arch='108-8x1-g3'))", 'model.backbone?'),
        ("model = dict(backbone=dict(arc='108-8x1-g3'))", 'model.backbone.arch?'),
        ('train_cfg = dict(max_epoch=2)', 'train_cfg.max_epochs?'),
        ('train_dataloader = dict(batchsize=2)', 'train_dataloader.batch_size?'),
        ("optim_wrapper = dict(optimizer=dict(lr='abc'))", 'must be a number'),
        ('optim_wraper = dict(optimizer=dict(lr=3))', 'optim_wrapper?'),
        ('train_cfgg = dict(max_epochs=2)', 'train_cfg?'),
    ],
)
def test_a_file_with_a_key_that_nothing_reads(tmp_path, line, hint):
    path = tmp_path / 'x.py'
    path.write_text(f"_base_ = '{SSD}'\n{line}\n")
    with pytest.raises(InputError) as refused:
        check_keys(Config.fromfile(path))
    assert hint in str(refused.value)


@pytest.mark.parametrize('task', ['ssd_', 'faster_rcnn_', ''])
def test_our_configs_pass(task):
    tasks = [
        f'{task}menet108*.py',
        f'{task}*meplugin*.py',
        f'{task}*shapes.py',
        f'{task}*voc0712.py',
        f'{task}*coco*.py',
    ]
    paths = {path for pattern in tasks for path in (ROOT / 'configs').glob(pattern)}
    assert paths
    for path in [*paths, ROOT / 'examples/downstream/configs/ssd_menet108_bccd.py'] if task == 'ssd_' else paths:
        check_keys(Config.fromfile(path, import_custom_modules=False))


def test_users_configs_pass(shared, tmp_path):
    """Configs of public reports, whatever else is wrong with them."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    paths = sorted((shared / 'cases').glob('*/t_*.py'))
    assert len(paths) > 20
    for path in paths:
        check_keys(Config.fromfile(shutil.copy(path, tmp_path / 'configs')))


@pytest.mark.slow
@pytest.mark.parametrize('library', ['mmdet', 'mmpretrain'])
def test_the_libraries_own_configs_pass(library):
    """Every parameter that they set is one, so a refusal is a false alarm."""
    root = Path(find_spec(library).origin).parent / '.mim/configs'
    paths = sorted(path for path in root.rglob('*.py') if '_base_' not in path.parts)
    read = 0
    for path in random.Random(0).sample(paths, 60):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            try:
                cfg = Config.fromfile(path)
            except (ImportError, TypeError, OSError, RuntimeError):  # some need other packages or are broken
                continue
        check_keys(cfg)
        read += 1
    assert read > 40
