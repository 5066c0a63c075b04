"""Where tests get data from, the shared folder of real data and a small generated set, and how they run command lines."""

import io
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import unittest.mock
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mmengine.runner import CheckpointLoader
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from menet_mm.datasets.reading import read_labels, write_labels
from menet_mm.datasets.shapes import make_shapes
from menet_mm.errors import InputError
from menet_mm.utils.stack import check_exporter

ROOT = Path(__file__).resolve().parent.parent

#: What needs export or gradio, which the stack with an old torch does not have (docs/install.md); single tests have the marker
#: `export`.
EXPORT = (
    'apis/test_page.py',
    'deploy',
    'benchmarks',
    'tools/test_export_classifier.py',
    'tools/test_export_detector.py',
    'tools/test_export_refusals.py',
)
try:
    check_exporter()
    WITHOUT_EXPORT = None
except InputError as error:
    WITHOUT_EXPORT = str(error)
    collect_ignore = EXPORT


def pytest_report_header() -> str | None:
    return f'left out: {", ".join(EXPORT)} and tests marked export, since {WITHOUT_EXPORT}' if WITHOUT_EXPORT else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not WITHOUT_EXPORT:
        return
    left_out = [item for item in items if item.get_closest_marker('export')]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    """A command that runs in this process changes it: variables, and how mmengine reads checkpoints."""
    loaders = CheckpointLoader._schemes
    with unittest.mock.patch.dict(os.environ), unittest.mock.patch.object(CheckpointLoader, '_schemes', loaders.copy()):
        return (yield)


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


@pytest.fixture(scope='session')
def labelled_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures without splits, in a folder for each of yolo, coco and folders, with names of classes that people use.

    The COCO file is as poor as they come. In ``single`` all objects are of one class.
    """
    root = tmp_path_factory.mktemp('sets')
    make_shapes(root / 'shapes', train=11, test=1)
    labels = read_labels(root / 'shapes/VOC2007')[0]
    labels.splits = {}
    names = dict(circle='traffic light', square='été', triangle='猫', star="o'clock")
    for picture in labels.pictures.values():
        picture.boxes = [replace(box, name=names[box.name]) for box in picture.boxes]
        picture.label = picture.boxes[0].name
    labels.classes = sorted(names.values())
    for form in ('yolo', 'coco', 'folders'):
        write_labels(labels, root / form, form)
    path = root / 'coco/annotations/all.json'
    content = json.loads(path.read_text())
    for entry in content['images']:
        entry['id'] = f'image {entry["id"] * 7}'
    for entry in content['annotations']:
        entry.update(image_id=f'image {entry["image_id"] * 7}', category_id=entry['category_id'] * 10)
        del entry['area'], entry['iscrowd']
    content['categories'] = [dict(id=0, name='root'), *(dict(c, id=c['id'] * 10) for c in content['categories'])]
    path.write_text(json.dumps(content))
    for picture in labels.pictures.values():
        picture.boxes = [replace(box, name='thing') for box in picture.boxes]
    labels.classes = ['thing']
    write_labels(labels, root / 'single', 'yolo')
    return root


@pytest.fixture(scope='session')
def independent_ap():
    """11-point AP at IoU 0.5 by another library, mean_average_precision, which follows the VOC 2007 rule by itself.

    It counts a pixel's width into boxes (IoU with +1), as VOC's own code and mmdet's VOCMetric do. It mixes up the flags of
    difficult boxes (np.repeat where np.tile is meant), so these are settled before, by VOC's rule with torchvision's IoU: a
    detection whose best box is a difficult one, at more than 0.5, counts for nothing, and neither does the box.
    """
    import torch
    from mean_average_precision import MetricBuilder
    from torchvision.ops import box_iou

    def counted(rows: np.ndarray, easy: np.ndarray, hard: np.ndarray) -> np.ndarray:
        if not len(rows) or not len(hard):
            return rows
        plus = torch.tensor([0, 0, 1, 1], dtype=torch.float64)
        boxes = torch.tensor(np.vstack([easy, hard]), dtype=torch.float64)
        best, index = box_iou(torch.tensor(rows[:, :4], dtype=torch.float64) + plus, boxes + plus).max(1)
        return rows[~((best > 0.5) & (index >= len(easy))).numpy()]

    def compute(detections: list, annotations: list, classes: int) -> list[float]:
        """Take what menet_mm.evaluation.report.match returns."""
        metric = MetricBuilder.build_evaluation_metric('map_2d', async_mode=False, num_classes=classes)
        for found, truth in zip(detections, annotations, strict=True):
            rows = []
            for label, of_class in enumerate(found):
                easy = truth['bboxes'][truth['labels'] == label]
                hard = truth['bboxes_ignore'][truth['labels_ignore'] == label]
                kept = counted(of_class, easy, hard)
                rows.append(np.column_stack([kept[:, :4], np.full(len(kept), label), kept[:, 4]]))
            flags = np.zeros((len(truth['labels']), 2))
            metric.add(np.vstack(rows), np.column_stack([truth['bboxes'], truth['labels'], flags]))
        value = metric.value(0.5, recall_thresholds=np.arange(0, 1 + 1e-3, 0.1), mpolicy='greedy')
        return [float(value[0.5][label]['ap']) for label in range(classes)]

    return compute


@pytest.fixture(scope='session')
def tool(tmp_path_factory):
    """Call ``tools/<name>``, or ``python -m <name>`` for ``studies`` and ``benchmarks``, as a user would; returns the finished process, with stderr in stdout.

    It runs in a folder of its own, so that default work dirs do not appear among the user's.
    """
    folder = tmp_path_factory.mktemp('run')

    def call(name: str, *args: object, ok: bool = True, **env: str) -> subprocess.CompletedProcess:
        script = ROOT / 'tools' / name
        python = [sys.executable, '-u']
        command = {'.py': [*python, str(script)], '.sh': ['bash', str(script)]}.get(
            script.suffix, [*python, '-m', name]
        )
        environment = {**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}', **env}
        environment['PYTHONPATH'] = f'{ROOT}:{environment.get("PYTHONPATH", "")}'
        result = subprocess.run(
            [*command, *(str(ROOT / a) if str(a).startswith('configs/') else str(a) for a in args)],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (result.returncode == 0) == ok, result.stdout
        return result

    return call


@pytest.fixture(scope='session')
def metric():
    """Find the last value of a metric in a log."""

    def find(log: str, name: str = 'pascal_voc/mAP') -> float:
        return float(re.findall(rf'{name}: (\d+\.\d+)', log)[-1])

    return find


@pytest.fixture(scope='session')
def tool_here() -> Callable[..., str]:
    """Run ``tools/<name>`` in this process, which has the libraries already; returns what it prints.

    A command that ends with another status than 0 raises SystemExit with its message.
    """

    def call(name: str, *args: object) -> str:
        said = io.TextIOWrapper(io.BytesIO(), encoding='utf-8', write_through=True)
        words = [str(ROOT / word) if str(word).startswith('configs/') else str(word) for word in args]
        environment = unittest.mock.patch.dict(os.environ)
        with warnings.catch_warnings(), redirect_stdout(said), environment, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'argv', [name, *words])
            try:
                runpy.run_path(str(ROOT / 'tools' / name), run_name='__main__')
            except SystemExit as stopped:
                if stopped.code:
                    raise
        return said.buffer.getvalue().decode()

    return call


@pytest.fixture(scope='session')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a screen, for which no address exists but this machine's."""
    programs = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if None in programs:
        message = 'needs Chromium and its driver; on Debian: apt install chromium chromium-driver'
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)(message)
    options = ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp('browser')
    for argument in (
        'headless=new',
        'no-sandbox',
        'disable-gpu',
        'no-first-run',
        'disable-background-networking',
        'disable-component-update',
        'disable-sync',
        f'user-data-dir={profile}',
        'host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1',
    ):
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    driver = Chrome(options, ChromeService(programs[1]))
    yield driver
    driver.quit()
