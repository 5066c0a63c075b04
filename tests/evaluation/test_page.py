"""The report's page: nothing of the data is run, it stays small, and its pictures show what they say."""

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from mmengine.config import Config

from menet_mm.datasets.doctor.checkup import check_folder
from menet_mm.datasets.doctor.page import write_page as write_check
from menet_mm.evaluation import facts, page
from menet_mm.evaluation.examples import find_window
from menet_mm.evaluation.rendering import write_page
from menet_mm.evaluation.report import ap_by_class

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>$x_{'
LOG = pd.DataFrame(dict(loss=[2.0, 1], iter=[1, 2], step=[1, 2], epoch=[1, 1], lr=[0.1, 0.2]))


class Pictures:
    """The parts of a data set that a report uses."""

    def __init__(self, paths: list[Path], classes: tuple[str, ...]) -> None:
        self.paths, self.metainfo = paths, dict(classes=classes)

    def __len__(self) -> int:
        return len(self.paths)

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=str(self.paths[index]))


def write(folder: Path, dataset: Pictures, detections: list, annotations: list, log: pd.DataFrame = LOG, **more) -> str:
    table = ap_by_class(dataset.metainfo['classes'], detections, annotations, 'area')
    texts = dict(title='a title', facts=dict(model='SSD'), config_text='', data_checks=[]) | more
    results = page.describe_results(dataset, detections, annotations, table, log)
    write_page(folder / 'report.html', 'detector.html.jinja', **texts, **results)
    return (folder / 'report.html').read_text()


def draw(path: Path, noise: bool = False) -> Path:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (900, 1000, 3), np.uint8) if noise else np.full((60, 80, 3), 90, np.uint8)
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    return path


def truth(*boxes: list[float], labels: list[int]) -> dict:
    none = dict(bboxes_ignore=np.zeros((0, 4), np.float32), labels_ignore=np.zeros(0, int))
    return dict(none, bboxes=np.array(boxes, np.float32).reshape(-1, 4), labels=np.array(labels, int))


def test_text_of_the_data_is_only_text(tmp_path, assert_harmless):
    """Names of classes and of pictures, the log, settings and the config are all shown, and none of it is a tag."""
    path = draw(tmp_path / '"><img src=x onerror=alert(1)>.png')
    name = HOSTILE.replace('script', 'SCRIPT')
    log = LOG.assign(**{f'coco/bbox_mAP_{HOSTILE}': [0.1, 0.2]})
    found = [np.array([[5, 5, 30, 30, 0.9], [50, 5, 70, 30, 0.8]], np.float32), np.zeros((0, 5), np.float32)]
    text = write(
        tmp_path,
        Pictures([path], (HOSTILE, name)),
        [found],
        [truth([5, 5, 30, 30], [10, 35, 30, 55], labels=[0, 1])],
        log,
        title=HOSTILE,
        facts={HOSTILE: HOSTILE},
        config_text=HOSTILE,
        data_checks=[f'{HOSTILE}.html', 'javascript:alert(1)'],
    )
    assert_harmless(text)
    assert text.count('&lt;script&gt;alert(1)') > 5


def test_pictures_show_the_mistakes_of_each_kind(tmp_path, tags):
    paths = [draw(tmp_path / f'{i}.png') for i in range(2)]
    rows = [
        [2, 2, 22, 22, 0.9],
        [4, 2, 24, 22, 0.8],
        [60, 40, 75, 55, 0.7],
        [30, 5, 50, 25, 0.6],
        [12, 42, 32, 57, 0.5],
    ]
    detections = [[np.array(rows, np.float32), np.zeros((0, 5), np.float32)]] * 2
    # Found and found twice; nothing; of the other class; near.
    objects = truth([2, 2, 22, 22], [30, 5, 50, 25], [22, 42, 42, 57], labels=[0, 1, 0])
    text = write(tmp_path, Pictures(paths, ('a', 'b')), detections, [objects] * 2)
    cards = [attrs for tag, attrs in tags(text) if tag == 'figure']
    kinds = [card['data-kind'] for card in cards]
    # The best threshold is that of the right detections, so weaker mistakes are not shown.
    assert kinds == ['missed'] * 4
    assert sorted(card['data-labels'] for card in cards) == ['0', '0', '1', '1']
    text = write(
        tmp_path, Pictures(paths, ('a', 'b')), detections, [truth(*[r[:4] for r in rows[3:]], labels=[0, 0])] * 2
    )
    cards = [attrs for tag, attrs in tags(text) if tag == 'figure']
    assert [card['data-kind'] for card in cards] == ['background'] * 6
    assert [float(card['data-score']) for card in cards[:2]] == pytest.approx([0.9, 0.9])
    assert 'nan' not in text.lower().replace('nano', '')


def test_many_large_pictures_make_a_small_page(tmp_path, tags, monkeypatch):
    paths = [draw(tmp_path / 'noise.png', noise=True)] * 30
    found = [[np.array([[100, 100, 300, 300, 0.9], [500, 500, 800, 800, 0.8]], np.float32)]] * 30
    objects = [truth([100, 100, 300, 300], *[[20, 800, 70, 850]] * 3000, labels=[0] * 3001)] * 30
    monkeypatch.setattr(page, 'BUDGET', 1_000_000)
    text = write(tmp_path, Pictures(paths, ('a' * 10_000,)), found, objects)
    assert len(text) < 1_500_000
    shown = sum(tag == 'figure' for tag, _ in tags(text))
    assert 1 < shown < 24
    assert f'<td>Missed</td><td>90000</td><td>{shown}</td>' in text


@pytest.mark.parametrize(
    'box', [[10, 10, 20, 20], [-50, -50, -20, -20], [90, 40, 300, 200], [0, 0, 640, 480], [5, 5, 5, 5]]
)
@pytest.mark.parametrize('size', [(640, 480), (100, 50), (1, 1), (3000, 20)])
def test_windows_lie_in_the_picture(box, size):
    x1, y1, x2, y2 = find_window(np.array(box, float), *size)
    assert 0 <= x1 < x2 <= size[0]
    assert 0 <= y1 < y2 <= size[1]
    inside = np.clip(box, 0, [*size, *size])
    if (inside[2:] > inside[:2]).all() and np.array_equal(inside, box):
        assert x1 <= box[0] < box[2] <= x2
        assert y1 <= box[1] < box[3] <= y2


def test_what_was_trained_is_read_from_the_logs(tmp_path):
    """Of two starts of a training, and a test, which is none."""
    runs = {'20260101_100000': 'loss', '20260101_120000': 'loss', '20260102_100000': 'pascal_voc/mAP'}
    for number, (stamp, key) in enumerate(runs.items()):
        folder = tmp_path / stamp
        (folder / 'vis_data').mkdir(parents=True)
        (folder / 'vis_data/scalars.json').write_text(f'{{"{key}": 0.5, "iter": 1, "step": 1}}\n')
        day, hour = f'{stamp[:4]}/{stamp[4:6]}/{stamp[6:8]}', stamp[9:11]
        lines = [
            f'{day} {hour}:00:00 - mmengine - INFO - ',
            '    Python: 3.11.7',
            '    GPU 0: H200',
            f'    seed: {number}',
        ]
        (folder / f'{stamp}.log').write_text(
            '\n'.join([*lines, *['filler ' * 20] * 2000, f'{day} {hour}:30:00 - mmengine - INFO'])
        )
    assert facts.read_environment(tmp_path) == {
        'Python': '3.11.7',
        'GPU 0': 'H200',
        'seed': '1',
        'trained': '2026-01-01 10:00:00 to 2026-01-01 12:30:00 (2:30:00), in 2 starts',
    }
    assert facts.read_environment(tmp_path / 'none') == {}


def test_what_was_trained_is_counted():
    cfg = Config.fromfile('configs/ssd_menet228_shapes.py')
    cfg.model.backbone.init_cfg = [dict(type='Kaiming', layer='Conv2d'), dict(type='Pretrained', checkpoint='x.pth')]
    found = facts.describe_training(cfg, Path('none'), [dict(img_shape=(160, 160))])
    assert found['backbone'] == 'menet_mm.MENet 228-12x1-g3'
    assert found['epochs'] == '10'
    assert found['starts from'] == 'x.pth'
    assert re.fullmatch(r'\d+ million at 160 x 160 px', found['multiply-adds'])
    two_stages = facts.count_model(Config.fromfile('configs/faster_rcnn_menet108_voc.py'), [dict(img_shape=(160, 160))])
    assert list(two_stages) == ['parameters']


def test_the_page_of_a_data_check_is_found(shapes, tmp_path):
    write_check(tmp_path / 'my check.html', 'Check of data', *check_folder(shapes, 'voc'))
    (tmp_path / 'other.html').write_text('<title>Report</title>')
    assert facts.find_data_checks(tmp_path) == ['my check.html']
