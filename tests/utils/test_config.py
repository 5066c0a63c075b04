"""One rule for how a config is named."""

from pathlib import Path

import pytest

from menet_mm import InputError
from menet_mm.utils.config import find_config

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
