"""Our AP by class against another library's (``independent_ap``), on random detections.

On a trained detector's predictions: tests/tools/test_detector.py.
"""

import io
import json
import os
import re
import shutil
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pycocotools.mask
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from menet_mm import InputError
from menet_mm.checkpoints.plain_pickle import TORCH_SWITCHES
from menet_mm.datasets import shapes as generated
from menet_mm.evaluation.curves import plot_curves, read_log
from menet_mm.evaluation.dump import dump_metric
from menet_mm.evaluation.report import ap_by_class, draw_detections, match, read_predictions, write_report

CLASSES = ('a', 'b', 'c')


@pytest.mark.parametrize('difficult', [0, 0.3])
@pytest.mark.parametrize('seed', range(4))
def test_ap_of_random_detections(random_case, independent_ap, seed, difficult):
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
def test_predictions_of_mmdets_own_script_are_read(tmp_path, protocol):
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
        assert read[0][key].dtype == more[key].dtype.newbyteorder('=')  # numpy itself reads it so
        assert np.array_equal(read[0][key], more[key])


@pytest.mark.parametrize('switch', TORCH_SWITCHES)
def test_predictions_are_read_whatever_torchs_switches_say(tmp_path, monkeypatch, switch):
    monkeypatch.setenv(switch, '1')
    for write, path in ((mmengine.dump, tmp_path / 'x.pkl'), (torch.save, tmp_path / 'y.pkl')):
        write([prediction(Path('a.jpg'))], path)
        assert read_predictions(path)[0]['img_id'] == 'a'


def test_a_detectors_predictions_are_tensors_that_anybody_can_read(tmp_path):
    """Without ground truth, masks compressed, and of each tensor no more than its own part of the memory."""
    path = tmp_path / 'new/x.pkl'
    metric = dump_metric('mmdet', str(path))
    masks = torch.zeros(3, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 3:] = True
    sample = prediction(Path('a.jpg'), gt_instances=dict(bboxes=torch.rand(1, 4)), scale_factor=(np.float64(0.5), 2))
    sample['pred_instances'].update(masks=masks, bboxes=torch.rand(100_000, 4)[:3])
    wanted = dict(sample['pred_instances'])
    metric.process({}, [sample])
    metric.evaluate(1)
    assert path.stat().st_size < 10_000
    (read,) = torch.load(path, weights_only=True)
    assert read.keys() == {'img_id', 'img_path', 'ori_shape', 'pred_instances', 'scale_factor'}
    assert (read['img_id'], read['scale_factor']) == ('a', (0.5, 2))
    for key in ('bboxes', 'scores', 'labels'):
        assert torch.equal(read['pred_instances'][key], wanted[key])
    assert np.array_equal(pycocotools.mask.decode(read['pred_instances']['masks'][0]), masks[0])
    assert torch.equal(read_predictions(path)[0]['pred_instances']['bboxes'], wanted['bboxes'])


def test_a_classifiers_predictions_are_tensors(tmp_path):
    path = tmp_path / 'x.pkl'
    metric = dump_metric('mmpretrain', str(path))
    metric.process({}, [dict(pred_score=torch.tensor([0.25, 0.75]), gt_label=torch.tensor([1]), img_path='a.jpg')])
    metric.evaluate(1)
    (read,) = torch.load(path, weights_only=True)
    assert read['pred_score'].tolist() == [0.25, 0.75]
    assert (read['gt_label'].tolist(), read['img_path']) == ([1], 'a.jpg')


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
    torch.save([prediction(Path('a.jpg'), extra=kind(created))], tmp_path / 'y.pkl')
    with pytest.raises(InputError, match='cannot be read as predictions'):
        read_predictions(tmp_path / 'y.pkl')
    assert not created.exists()
    mmengine.load(path)
    assert created.exists()  # so the file above was a real threat


def test_what_is_no_list_of_predictions_is_said(tmp_path):
    path = tmp_path / 'x.pkl'
    mmengine.dump([prediction(Path('a.jpg'))], path)
    theirs = path.read_bytes()
    torch.save([prediction(Path('a.jpg'))], path)
    ours = path.read_bytes()
    for content in (theirs[: len(theirs) // 2], ours[: len(ours) // 2], b'', b'no pickle'):
        path.write_bytes(content)
        with pytest.raises(InputError, match='x.pkl cannot be read as predictions') as caught:
            read_predictions(path)
        assert '\n' not in str(caught.value)
    good = prediction(Path('a.jpg'))
    for content in (dict(a=1), [3], [dict(good, pred_instances=None)], [dict(img_id=1, pred_score=torch.rand(3))]):
        mmengine.dump(content, path)
        with pytest.raises(InputError, match="x.pkl is no list of a detector's predictions"):
            read_predictions(path)


def build_dataset(root: Path):
    init_default_scope('mmdet')
    return DATASETS.build(
        dict(
            type='VOCDataset',
            data_root=str(root),
            ann_file='VOC2007/ImageSets/Main/test.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            metainfo=dict(classes=generated.CLASSES),
            pipeline=[],
            test_mode=True,
        )
    )


def predict(dataset, found: bool = True) -> list[dict]:
    """The first class, surely, at the left of each picture; or nothing at all."""
    count = int(found)
    instances = dict(
        bboxes=torch.tensor([[1.0, 1, 50, 80]] * count).reshape(-1, 4),
        scores=torch.ones(count),
        labels=torch.zeros(count, dtype=torch.long),
    )
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return [dict(img_id=i['img_id'], img_path=i['img_path'], pred_instances=dict(instances)) for i in infos]


def test_a_drawing_that_is_not_written_is_said(shapes, tmp_path):
    dataset = build_dataset(shapes)
    predictions = predict(dataset)
    found = match(dataset, predictions)
    with pytest.raises(InputError, match='detections.png cannot be written'):
        draw_detections(dataset, predictions, *found, tmp_path / 'none/detections.png', count=2)


@pytest.fixture
def without_objects(shapes, tmp_path) -> Path:
    """Three pictures of a test set, in which nothing is to be found."""
    root = tmp_path / 'shapes'
    shutil.copytree(shapes / 'VOC2007', root / 'VOC2007')
    (root / 'VOC2007/ImageSets/Main/test.txt').write_text('test_00000\ntest_00001\ntest_00002\n')
    for path in root.glob('VOC2007/Annotations/test_*.xml'):
        path.write_text(re.sub('<object>.*</object>', '', path.read_text(), flags=re.DOTALL))
    return root


@pytest.mark.parametrize('found', [True, False])
def test_pictures_without_objects_are_drawn(without_objects, tmp_path, found):
    dataset = build_dataset(without_objects)
    predictions = predict(dataset, found)
    draw_detections(dataset, predictions, *match(dataset, predictions), tmp_path / 'detections.png')
    sheet = cv2.imread(str(tmp_path / 'detections.png'))
    assert sheet.shape == (300, 1800, 3)
    assert all(sheet[:, i : i + 600].std() > 1 for i in range(0, 1800, 600))


def write_log(work_dir: Path, *lines: dict) -> None:
    path = work_dir / '20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(map(json.dumps, lines)))


EPOCHS = [dict(loss=2.0 / i, epoch=i, iter=5 * i, step=5 * i) for i in (1, 2)]


@pytest.mark.parametrize(
    'log',
    [
        pytest.param([*EPOCHS, {'pascal_voc/mAP': 0.5, 'step': 2}], id='whole'),
        pytest.param(EPOCHS, id='no validation'),
        pytest.param(EPOCHS[:1], id='one line'),
        pytest.param([dict(loss=1.0, iter=5, step=5), dict(loss=0.5, iter=10, step=10)], id='iterations'),
        pytest.param([dict(loss=float('nan'), epoch=1, iter=5, step=5)], id='no number'),
    ],
)
def test_curves_of_any_training(tmp_path, log):
    write_log(tmp_path, *log)
    plot_curves(read_log(tmp_path), tmp_path / 'curves.png')
    assert cv2.imread(str(tmp_path / 'curves.png')).std() > 1


@pytest.mark.parametrize('detections', [np.zeros((0, 5)), np.array([[0, 0, 9, 9, 0.5]])], ids=['none', 'one'])
@pytest.mark.parametrize('objects', [0, 1])
@pytest.mark.parametrize('pictures', [1, 2])
@pytest.mark.parametrize('eval_mode', ['11points', 'area'])
def test_ap_where_something_is_missing(detections, objects, pictures, eval_mode):
    """The second class has nothing, the first perhaps."""
    none = dict(bboxes_ignore=np.zeros((0, 4)), labels_ignore=np.zeros(0, int))
    truth = dict(none, bboxes=np.array([[0, 0, 9, 9]] * objects).reshape(-1, 4), labels=np.zeros(objects, int))
    table = ap_by_class(('a', 'b'), [[detections, detections[:0]]] * pictures, [truth] * pictures, eval_mode)
    right = float(len(detections)) if objects else np.nan
    assert table['class'].tolist() == ['a', 'b', 'mean']
    assert table.objects.tolist() == [objects * pictures, 0, objects * pictures]
    assert table.detections.tolist() == [len(detections) * pictures, 0, len(detections) * pictures]
    assert table.recall.tolist() == pytest.approx([right, np.nan, np.nan], nan_ok=True)
    assert table.ap.tolist() == pytest.approx([right, np.nan, right], nan_ok=True)


def config(root: Path) -> Config:
    cfg = Config.fromfile('configs/ssd_menet228_shapes.py')
    cfg.test_dataloader.dataset.data_root = str(root)
    return cfg


def test_the_report_of_a_set_without_objects(without_objects, tmp_path, capsys):
    write_log(tmp_path, *EPOCHS)
    torch.save(predict(build_dataset(without_objects)), tmp_path / 'x.pkl')
    write_report(config(without_objects), tmp_path / 'x.pkl', tmp_path)
    said = capsys.readouterr().out
    for name in ('report.html', 'ap_by_class.csv', 'curves.png', 'detections.png'):
        assert str(tmp_path / 'report' / name) in said
    rows = (tmp_path / 'report/ap_by_class.csv').read_text().splitlines()
    assert rows[1] == f'{generated.CLASSES[0]},0,3,,'
    assert rows[-1] == 'mean,0,3,,'


def test_what_does_not_belong_together_is_said(without_objects, tmp_path):
    """Another data set, another list of classes, a picture that is gone: nothing is written."""
    write_log(tmp_path, *EPOCHS)
    cfg, path = config(without_objects), tmp_path / 'x.pkl'
    predictions = predict(build_dataset(without_objects))
    torch.save(predictions[:2], path)
    with pytest.raises(InputError, match='the 2 predictions are not of the 3 pictures'):
        write_report(cfg, path, tmp_path)
    predictions[1]['pred_instances']['labels'] += 19
    torch.save(predictions, path)
    with pytest.raises(InputError, match='class 19, the data set has [0-9]+ classes'):
        write_report(cfg, path, tmp_path)
    predictions[1]['pred_instances']['labels'] -= 19
    torch.save(predictions, path)
    Path(predictions[1]['img_path']).write_bytes(b'no picture')
    with pytest.raises(InputError, match='picture .*test_00001.jpg cannot be read'):
        write_report(cfg, path, tmp_path)
    assert not list((tmp_path / 'report').iterdir())
