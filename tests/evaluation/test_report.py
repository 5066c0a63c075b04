"""Our AP by class against another library's (``independent_ap``), on random detections.

On a trained detector's predictions: tests/tools/test_detector.py.
"""

import io
import os
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from menet_mm import InputError
from menet_mm.datasets import shapes as generated
from menet_mm.evaluation.report import ap_by_class, draw_detections, match, read_predictions

CLASSES = ('a', 'b', 'c')


def random_case(seed: int, difficult: float = 0) -> tuple[list, list]:
    """Pictures with boxes, of which a fraction is difficult, and detections: near misses, double ones, inventions."""
    rng = np.random.default_rng(seed)
    detections, annotations = [], []
    for _ in range(40):
        count = rng.integers(0, 7)
        corners = rng.uniform(0, 200, (count, 2))
        boxes = np.hstack([corners, corners + rng.uniform(5, 90, (count, 2))]).astype(np.float32)
        labels = rng.integers(0, len(CLASSES), count)
        hard = rng.random(count) < difficult
        annotations.append(
            dict(
                bboxes=boxes[~hard],
                labels=labels[~hard],
                bboxes_ignore=boxes[hard],
                labels_ignore=labels[hard],
            )
        )
        repeated = np.repeat(np.arange(count), rng.integers(0, 4, count))
        shifted = boxes[repeated] + rng.normal(0, 6, (len(repeated), 4))
        invented = rng.uniform(0, 150, (3, 2))
        shifted = np.vstack([shifted, np.hstack([invented, invented + 40])])
        kinds = np.concatenate([labels[repeated], rng.integers(0, len(CLASSES), 3)])
        rows = np.column_stack([shifted, rng.random(len(shifted))]).astype(np.float32)
        detections.append([rows[kinds == label] for label in range(len(CLASSES))])
    return detections, annotations


@pytest.mark.parametrize('difficult', [0, 0.3])
@pytest.mark.parametrize('seed', range(6))
def test_ap_of_random_detections(independent_ap, seed, difficult):
    detections, annotations = random_case(seed, difficult)
    assert any(len(a['labels_ignore']) for a in annotations) == bool(difficult)
    table = ap_by_class(CLASSES, detections, annotations, '11points')
    expected = independent_ap(detections, annotations, len(CLASSES))
    assert min(expected) > 0.02
    assert max(expected) < 0.95
    assert table.ap[:-1].tolist() == pytest.approx(expected, abs=1e-6)


def prediction(path: Path, **more: object) -> dict:
    """What mmdet's DumpDetResults keeps of a picture."""
    found = dict(bboxes=torch.rand(3, 4).sort(1).values, scores=torch.rand(3), labels=torch.arange(3))
    return dict(img_id=path.stem, img_path=str(path), ori_shape=(3, 4), pred_instances=found, **more)


@pytest.mark.parametrize('protocol', [2, 4])  # mmengine's, Python's
def test_predictions_are_read_as_they_were_written(tmp_path, protocol):
    more = dict(
        scale=np.arange(6, dtype='>f4').reshape(2, 3).T,
        none=np.zeros((0, 4)),
        number=np.float64(0.5),
        masks=[dict(size=[3, 4], counts=b'\x00\xff')],
    )
    written = [prediction(Path('a.jpg'), **more), prediction(Path('b.jpg'))]
    written[1]['pred_instances'] = dict(
        bboxes=torch.zeros(0, 4), scores=torch.zeros(0), labels=torch.zeros(0, dtype=torch.long)
    )
    mmengine.dump(written, tmp_path / 'x.pkl', protocol=protocol)
    read = read_predictions(tmp_path / 'x.pkl')
    for found, wanted in zip(read, written, strict=True):
        assert found.keys() == wanted.keys()
        for key, tensor in wanted['pred_instances'].items():
            assert torch.equal(found['pred_instances'][key], tensor)
    assert read[0]['masks'] == more['masks']
    assert read[0]['number'] == 0.5
    for key in ('scale', 'none'):
        assert read[0][key].dtype == more[key].dtype
        assert np.array_equal(read[0][key], more[key])


class Malicious:
    """Loading it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


class Nested(Malicious):
    """The same inside the memory of a tensor, which torch by itself unpickles without any care."""

    def __reduce__(self):
        inner = io.BytesIO()
        torch.save(Malicious(self.path), inner, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (inner.getvalue(),)


@pytest.mark.parametrize('kind', [Malicious, Nested])
def test_malicious_predictions_create_nothing(tmp_path, kind):
    created, path = tmp_path / 'created', tmp_path / 'x.pkl'
    mmengine.dump([prediction(Path('a.jpg'), extra=kind(created))], path)
    with pytest.raises(InputError, match='cannot be read as predictions .*write it again with `tools/test.py'):
        read_predictions(path)
    assert not created.exists()
    mmengine.load(path)
    assert created.exists()  # so the file above was a real threat


def test_what_is_no_list_of_predictions_is_said(tmp_path):
    path = tmp_path / 'x.pkl'
    mmengine.dump([prediction(Path('a.jpg'))], path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b'', b'no pickle'):
        path.write_bytes(content)
        with pytest.raises(InputError, match='x.pkl cannot be read as predictions') as caught:
            read_predictions(path)
        assert '\n' not in str(caught.value)
    good = prediction(Path('a.jpg'))
    for content in (dict(a=1), [3], [dict(good, pred_instances=None)], [dict(img_id=1, pred_score=torch.rand(3))]):
        mmengine.dump(content, path)
        with pytest.raises(InputError, match="x.pkl is no list of a detector's predictions"):
            read_predictions(path)


def test_a_drawing_that_is_not_written_is_said(shapes, tmp_path):
    init_default_scope('mmdet')
    dataset = DATASETS.build(
        dict(
            type='VOCDataset',
            data_root=str(shapes),
            ann_file='VOC2007/ImageSets/Main/test.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            metainfo=dict(classes=generated.CLASSES),
            pipeline=[],
            test_mode=True,
        )
    )
    predictions = [prediction(Path(dataset.get_data_info(i)['img_path'])) for i in range(len(dataset))]
    found = match(dataset, predictions)
    with pytest.raises(InputError, match='detections.png cannot be written'):
        draw_detections(dataset, predictions, *found, tmp_path / 'none/detections.png', count=2)
