"""One rule for how a config is named and read."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from menet_mm import InputError, get_inferencer
from menet_mm.datasets.anchors import Fit
from menet_mm.deploy import export
from menet_mm.engine.adapt import SPLITS
from menet_mm.registry import MODELS
from menet_mm.utils.config import find_config, read_config

ROOT = Path(__file__).resolve().parent.parent.parent


def test_by_file_and_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('ssd_menet228_voc', ROOT / 'configs/ssd_menet228_voc.py'):
        assert find_config(name).samefile(ROOT / 'configs/ssd_menet228_voc.py')
    # A folder of one's own comes first.
    own = tmp_path / 'configs/ssd_menet228_voc.py'
    own.parent.mkdir()
    own.write_text('')
    assert find_config('ssd_menet228_voc').samefile(own)


@pytest.mark.parametrize(
    ('name', 'near'),
    [('ssd_menet228_vok', 'ssd_menet228_voc'), ('configs/menet108_in1.py', 'menet108_in1k'), ('???', 'menet228_in1k')],
)
def test_what_is_not_there(name, near):
    with pytest.raises(InputError, match=f'no config .*: give a file, or a name such as .*{near}'):
        find_config(name)


@pytest.mark.parametrize(
    'read',
    [
        lambda config, folder: get_inferencer(config, 'none.pth'),
        pytest.param(
            lambda config, folder: export(config, 'none.pth', folder / 'x.onnx', [np.zeros((8, 8, 3), np.uint8)]),
            marks=pytest.mark.export,
        ),
    ],
    ids=['get_inferencer', 'export'],
)
def test_misspelt_keys_are_refused_by_functions_too(tmp_path, read):
    config = tmp_path / 'x.py'
    config.write_text(f"_base_ = '{ROOT}/configs/menet108_in1k.py'\nmodel = dict(backbone=dict(frozen_stage=1))\n")
    with pytest.raises(InputError, match=r'did you mean model.backbone.frozen_stages\?'):
        read(config, tmp_path)


@pytest.mark.parametrize(
    ('line', 'reason'),
    [
        (
            "custom_imports = dict(imports=['no_such_module'])",
            'no_such_module.*: put the folder of its modules into PYTHONPATH',
        ),
        ('model = dict(backbone=dict(arch=dict(channels=1)))', 'arch=.* cannot inherit from base .*: correct it'),
    ],
)
def test_a_config_that_cannot_be_read(tmp_path, line, reason):
    config = tmp_path / 'x.py'
    config.write_text(f"_base_ = '{ROOT}/configs/menet108_in1k.py'\n{line}\n")
    with pytest.raises(InputError, match=f'config {config} cannot be read \\(.*{reason}'):
        read_config(config)


CHILD = "_base_ = '{root}/configs/{base}.py'\n{lines}\n"
ANCHORS = (
    "dict(_delete_=True, type='YOLOAnchorGenerator', strides=[16, 32, 64, 107, 160, 320], base_sizes=[[(10, 20)]] * 6)"
)


def anchors(cfg: Config) -> dict:
    return cfg.model.bbox_head.anchor_generator


@pytest.mark.parametrize('size', [160, 224, 370, 512])
@pytest.mark.parametrize('base', ['ssd_menet228_voc', 'ssd_menet108_voc12', 'ssd_menet108_s8_voc12'])
@pytest.mark.parametrize('by_option', [True, False])
def test_one_setting_moves_pictures_and_anchors(base, size, by_option, tmp_path, capsys):
    before = read_config(base)
    config = tmp_path / 'x.py'
    config.write_text(CHILD.format(root=ROOT, base=base, lines='' if by_option else f'input_size = {size}'))
    cfg = read_config(config, dict(input_size=size) if by_option else None)
    assert f'input_size = {size}: pictures and anchors are scaled' in capsys.readouterr().err
    scales = {
        tuple(step.scale) for split in SPLITS for step in cfg[f'{split}_dataloader'].dataset.pipeline if 'scale' in step
    }
    assert scales == {(size, size)}
    init_default_scope('mmdet')
    model = MODELS.build(deepcopy(cfg.model)).eval()
    with torch.no_grad():
        maps = [tuple(level.shape[-2:]) for level in model.extract_feat(torch.zeros(1, 3, size, size))]
    generator = model.bbox_head.prior_generator
    # The cells of each map cover the picture, to a cell's half.
    for (height, width), (x, y) in zip(maps, generator.strides, strict=True):
        assert max(abs(width * x - size), abs(height * y - size)) <= width / 2
    factor = size / before.input_size
    for key in ('min_sizes', 'max_sizes'):
        assert anchors(cfg)[key] == [round(value * factor) for value in anchors(before)[key]]
    # A file that inherits this one has its size, what a work dir keeps is read again as it is.
    grandchild = tmp_path / 'y.py'
    grandchild.write_text(CHILD.format(root=tmp_path, base='x', lines='').replace('configs/', ''))
    assert by_option or read_config(grandchild).model == cfg.model
    cfg.dump(tmp_path / 'kept.py')
    kept = read_config(tmp_path / 'kept.py')
    assert (kept.model, kept.train_dataloader) == (cfg.model, cfg.train_dataloader)


@pytest.mark.parametrize(
    ('base', 'lines', 'refused'),
    [
        ('ssd_menet228_voc', f'input_size = 512\nmodel = dict(bbox_head=dict(anchor_generator={ANCHORS}))', None),
        # Variables of one's own.
        ('ssd_menet228_shapes', '', None),
        ('ssd_menet228_voc', 'input_size = (512, 512)', None),
        ('ssd_menet228_voc', "input_size = 512\nresize = dict(type='Resize', scale=(512, 512))", None),
        ('faster_rcnn_menet228_voc', 'input_size = 800', 'needs one square Resize'),
    ],
)
def test_which_settings_of_a_file_count(base, lines, refused, tmp_path):
    config = tmp_path / 'x.py'
    config.write_text(CHILD.format(root=ROOT, base=base, lines=lines))
    if refused:
        with pytest.raises(InputError, match=refused):
            read_config(config)
        return
    generator = anchors(read_config(config))
    if 'YOLO' in generator.type:
        assert generator.base_sizes == [[(17, 34)]] * 6
        assert generator.strides == [16, 32, 64, 128, 256, 512]
    else:
        assert generator == anchors(read_config(base))


def test_anchors_that_were_fitted_at_the_new_size_stay(tmp_path):
    """What tools/fit_anchors.py prints for a config with ``input_size`` goes into that config."""
    config = tmp_path / 'x.py'
    lines = 'input_size = 480\n'
    config.write_text(CHILD.format(root=ROOT, base='ssd_menet108_s8_finetune', lines=lines))
    # Its strides are those that the maps have at that size.
    with torch.no_grad():
        model = MODELS.build(deepcopy(read_config(config).model)).eval()
        maps = [level.shape[-1] for level in model.extract_feat(torch.zeros(1, 3, 480, 480))]
    fit = Fit((480, 480), {}, [[(10, 20)] * 4] * 7, [(round(480 / cells),) * 2 for cells in maps])
    config.write_text(CHILD.format(root=ROOT, base='ssd_menet108_s8_finetune', lines=lines + fit.to_config()))
    assert anchors(read_config(config)).base_sizes == [[(10, 20)] * 4] * 7
    assert read_config(config).train_pipeline[3].scale == (480, 480)


@pytest.mark.parametrize('value', [16, '512', 1.5, True, [512, 512]])
def test_an_input_size_that_is_none(value):
    with pytest.raises(InputError, match='input_size must be a number of pixels from 32 on'):
        read_config('ssd_menet228_voc', dict(input_size=value))
