"""One rule for how a config is named and read."""

from pathlib import Path

import numpy as np
import pytest

from menet_mm import InputError, get_inferencer
from menet_mm.deploy import export
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
