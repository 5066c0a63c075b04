"""TensorBoard and MLflow get the values of a training by a line of config, as docs/logging.md says; their files are read back."""

import json
import os
import re
import sqlite3
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PAGE = Path(__file__).resolve().parents[2] / 'docs/logging.md'

pytestmark = pytest.mark.slow


@pytest.fixture
def logged(command, small_detector, tmp_path):
    """Train with the page's line for a backend; returns what the work dir's own file has: values and steps by name."""

    def train(backend):
        blocks = re.findall(r'```python\n(.*?)```', PAGE.read_text(), re.DOTALL)
        (lines,) = (block for block in blocks if backend in block)
        lines = lines.replace('sqlite:///work_dirs', f'sqlite:///{tmp_path}')
        config = small_detector(tmp_path / 'small.py', lines)
        command('train.py', config, '--work-dir', tmp_path / 'work')
        values = defaultdict(list)
        for row in map(json.loads, next((tmp_path / 'work').glob('*/vis_data/scalars.json')).read_text().splitlines()):
            for name in ('loss', 'lr', 'pascal_voc/mAP'):
                if name in row:
                    values[name].append((row['step'], row[name]))
        assert [len(values[name]) for name in ('loss', 'lr', 'pascal_voc/mAP')] == [16, 16, 2]
        return values

    return train


def test_tensorboard(logged, tmp_path):
    expected = logged('TensorboardVisBackend')
    events = EventAccumulator(str(next((tmp_path / 'work').glob('*/vis_data')))).Reload()
    for name, values in expected.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]


def test_mlflow(logged, tmp_path):
    if find_spec('mlflow') is None:
        message = 'needs MLflow: make setup EXTRA="--extra logging"'
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(message)
    expected = logged('MLflowVisBackend')
    with sqlite3.connect(tmp_path / 'mlflow.db') as store:
        for name, values in expected.items():
            found = store.execute('select step, value from metrics where key = ? order by step', [name]).fetchall()
            assert found == [(step, pytest.approx(value, rel=1e-6)) for step, value in values]
        params = dict(store.execute('select key, value from params').fetchall())
    assert params['train_cfg.max_epochs'] == '4'
