"""What tests of several command lines need: the authors' weights, and an interpreter without the libraries."""

import os
from pathlib import Path

import pytest

LIBRARIES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain')


@pytest.fixture(scope='session')
def menet108(tool_here, shared, tmp_path_factory) -> Path:
    """The authors' MENet-108, converted."""
    path = tmp_path_factory.mktemp('weights') / 'menet108.pth'
    tool_here('convert_checkpoint.py', shared / 'weights/108-MENet-8x1-group-3.pth.tar', path)
    return path


@pytest.fixture(scope='session')
def without_libraries(tmp_path_factory) -> dict[str, str]:
    """Environment of an interpreter that has none of the libraries that models are trained with."""
    folder = tmp_path_factory.mktemp('site')
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.modules.update(dict.fromkeys({LIBRARIES}))\n')
    return dict(PYTHONPATH=os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]))
