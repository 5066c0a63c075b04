"""Where tests get data from: the shared folder of real data, and a small generated set."""

import os
from pathlib import Path

import pytest

from menet_mm.datasets.shapes import make_shapes

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope='session')
def shared() -> Path:
    """The folder of real images and weights; outside CI a test that needs it may be skipped."""
    path = Path(os.environ.get('MENET_MM_SHARED', ROOT.parent / 'shared')).resolve()
    if not (path / 'data').is_dir():
        message = f'needs real data: {path}/data does not exist; set MENET_MM_SHARED'
        if os.environ.get('CI') == 'true':
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope='session')
def voc_root(shared: Path) -> str:
    return f'{shared}/data/VOCdevkit/'


@pytest.fixture(scope='session')
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated set of a dozen pictures, to be read only."""
    return make_shapes(tmp_path_factory.mktemp('data') / 'shapes', train=12, test=6)
