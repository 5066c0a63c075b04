"""Train, resume, evaluate and report a detector through the command lines."""

import csv
from pathlib import Path

import pytest
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope

from menet_mm.datasets.shapes import CLASSES
from menet_mm.evaluation.report import ap_by_class, match

CONFIG = 'configs/ssd_menet228_shapes.py'
# Tests in parallel share one training.
pytestmark = pytest.mark.xdist_group('detector')


def options(shapes: Path, epochs: int) -> list[str]:
    """Train on a dozen pictures and evaluate on the same, so that learning shows within seconds."""
    train = 'VOC2007/ImageSets/Main/trainval.txt'
    return [
        '--cfg-options',
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        'param_scheduler.0.end=5',
        'train_dataloader.batch_size=4',
        *(f'{split}_dataloader.num_workers=1' for split in ('train', 'val', 'test')),
        *(f'{split}_dataloader.dataset.data_root={shapes}' for split in ('train', 'val', 'test')),
        *(f'{split}_dataloader.dataset.ann_file={train}' for split in ('val', 'test')),
        'default_hooks.logger.interval=6',
        'randomness.seed=0',
    ]


@pytest.fixture(scope='module')
def trained(tool, shapes, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp('work')
    log = tool('train.py', CONFIG, '--work-dir', work_dir, *options(shapes, 24)).stdout
    return work_dir, log


def test_training_learns_and_reports_progress(trained, metric):
    work_dir, log = trained
    assert metric(log) > 0.05  # an untrained one stays below 0.02
    assert 'eta: ' in log
    assert 'Decoded 12 images of 12' in log
    assert '| triangle ' in log  # the table names the classes of the data, not VOC's
    assert (work_dir / 'epoch_24.pth').is_file()
    assert (work_dir / 'last_checkpoint').is_file()
    for noise in ('OneDL', 'faster_coco_eval', 'FileClient', 'HardDiskBackend', 'DeprecationWarning'):
        assert noise not in log


def test_evaluation_of_the_checkpoint_gives_the_same_map(tool, trained, shapes, metric, independent_ap, tmp_path):
    work_dir, log = trained
    out = tmp_path / 'predictions.pkl'
    arguments = (CONFIG, work_dir / 'epoch_24.pth', '--work-dir', tmp_path, '--out', out, '--show-dir', 'drawn')
    result = tool('test.py', *arguments, *options(shapes, 24))
    assert metric(result.stdout) == metric(log)
    assert len(list(tmp_path.glob('*/drawn/*.jpg'))) == 12
    predictions = torch.load(out, weights_only=True)
    assert len(predictions) == 12
    assert set(predictions[0]) >= {'img_id', 'img_path', 'pred_instances'}

    report = tool('report.py', CONFIG, out, '--work-dir', work_dir, *options(shapes, 24))
    with (work_dir / 'report/ap_by_class.csv').open() as file:
        rows = {row['class']: row for row in csv.DictReader(file)}
    assert float(rows['mean']['ap']) == pytest.approx(metric(log), abs=2e-4)
    for name in ('report.html', 'curves.png', 'detections.png', 'ap_by_class.csv'):
        assert str(work_dir / 'report' / name) in report.stdout
        assert (work_dir / 'report' / name).stat().st_size > 100

    page = (work_dir / 'report/report.html').read_text()
    assert f'<b>{float(rows["mean"]["ap"]):.3f}</b>mAP at IoU 0.5' in page

    cfg = Config.fromfile(CONFIG)
    cfg.test_dataloader.dataset.update(data_root=str(shapes), ann_file='VOC2007/ImageSets/Main/trainval.txt')
    init_default_scope('mmdet')
    detections, annotations = match(DATASETS.build(cfg.test_dataloader.dataset), predictions)
    table = ap_by_class(CLASSES, detections, annotations, '11points')
    expected = independent_ap(detections, annotations, len(CLASSES))
    assert table.ap[:-1].tolist() == pytest.approx(expected, abs=1e-6)


def test_untrained_detector_knows_nothing(tool, shapes, metric, tmp_path):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'untrained.pth')
    result = tool('test.py', CONFIG, tmp_path / 'untrained.pth', '--work-dir', tmp_path, *options(shapes, 24))
    assert metric(result.stdout) < 0.02


def test_resume_goes_on_from_the_latest_or_the_named_checkpoint(tool, trained, shapes, tmp_path):
    work_dir, _ = trained
    log = tool('train.py', CONFIG, '--work-dir', work_dir, '--resume', *options(shapes, 25)).stdout
    assert 'resumed epoch: 24' in log
    assert (work_dir / 'epoch_25.pth').is_file()
    named = ('--resume', work_dir / 'epoch_24.pth', '--work-dir', tmp_path)
    log = tool('train.py', CONFIG, *named, *options(shapes, 25)).stdout
    assert 'resumed epoch: 24' in log
    assert (tmp_path / 'epoch_25.pth').is_file()


def test_flips_at_test_time(tool, trained, shapes, metric, tmp_path):
    """Averaging over flips changes little; against mirrored ground truth nothing would be found."""
    work_dir, log = trained
    arguments = (CONFIG, work_dir / 'epoch_24.pth', '--work-dir', tmp_path, '--tta')
    assert metric(tool('test.py', *arguments, *options(shapes, 24)).stdout) > 0.6 * metric(log)


@pytest.mark.slow
def test_coco_form_of_the_same_data(tool, shapes, tmp_path, metric):
    """CocoMetric reads the other form of the same annotations; a dozen steps must run from end to end."""
    arguments = [
        '--cfg-options',
        'train_cfg.max_epochs=1',
        'train_dataloader.batch_size=6',
        'train_dataloader.num_workers=1',
        *(f'{split}_dataloader.dataset.data_root={shapes}' for split in ('train', 'val', 'test')),
        f'val_evaluator.ann_file={shapes}/annotations/test.json',
        f'test_evaluator.ann_file={shapes}/annotations/test.json',
    ]
    config = 'configs/ssd_menet228_coco_format.py'
    log = tool('train.py', config, '--work-dir', tmp_path, *arguments).stdout
    again = tool('test.py', config, tmp_path / 'epoch_1.pth', '--work-dir', tmp_path, *arguments).stdout
    assert metric(again, 'coco/bbox_mAP') == metric(log, 'coco/bbox_mAP')
    assert '| star ' in log
