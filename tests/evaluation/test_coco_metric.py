"""COCO files whose categories stand in another order than the config's classes, with gaps in their numbers."""

import json

import mmdet.datasets  # noqa: F401 (registers the transforms)
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS, METRICS, init_default_scope

CLASSES = ('star', 'circle')


@pytest.fixture
def ann_file(tmp_path):
    """Two pictures with a star and a circle each; 'circle' comes first and has the higher number."""
    boxes = {7: [10, 10, 30, 20], 3: [50, 40, 20, 30]}
    annotations = [dict(image_id=i, category_id=c, bbox=box) for i in (0, 1) for c, box in boxes.items()]
    images = [dict(id=i, file_name=f'{i}.jpg', width=99, height=99) for i in (0, 1)]
    categories = [dict(id=7, name='circle'), dict(id=5, name='moon'), dict(id=3, name='star')]
    path = tmp_path / 'set.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return str(path)


@pytest.mark.parametrize('classes', [CLASSES, CLASSES[::-1]])
def test_labels_mean_the_configs_classes(ann_file, classes):
    init_default_scope('mmdet')
    dataset = DATASETS.build(
        dict(type='menet_mm.CocoDataset', ann_file=ann_file, metainfo=dict(classes=classes), test_mode=True)
    )
    metric = METRICS.build(dict(type='menet_mm.CocoMetric', ann_file=ann_file, metric='bbox', classwise=True))
    metric.dataset_meta = dataset.metainfo
    found = []
    for index in range(2):
        info = dataset.get_data_info(index)
        named = {classes[one['bbox_label']]: one['bbox'] for one in info['instances']}
        assert named == dict(circle=[10, 10, 40, 30], star=[50, 40, 70, 70])
        # Every star is found, and no circle.
        stars = [one for one in info['instances'] if classes[one['bbox_label']] == 'star']
        predicted = dict(
            bboxes=torch.tensor([one['bbox'] for one in stars]).float(),
            scores=torch.ones(len(stars)),
            labels=torch.tensor([one['bbox_label'] for one in stars]),
        )
        found.append(dict(img_id=info['img_id'], ori_shape=(99, 99), pred_instances=predicted))
    metric.process({}, found)
    values = metric.evaluate(2)
    assert values['coco/star_precision'] == pytest.approx(1)
    assert values['coco/circle_precision'] == pytest.approx(0)
    assert np.isclose(values['coco/bbox_mAP'], 0.5)


def test_submitted_files_have_the_numbers_of_the_file(ann_file, tmp_path):
    init_default_scope('mmdet')
    prefix = str(tmp_path / 'out')
    metric = METRICS.build(dict(type='menet_mm.CocoMetric', ann_file=ann_file, format_only=True, outfile_prefix=prefix))
    metric.dataset_meta = dict(classes=CLASSES)
    box = dict(bboxes=torch.ones(1, 4), scores=torch.ones(1), labels=torch.tensor([1]))
    metric.process({}, [dict(img_id=0, ori_shape=(99, 99), pred_instances=box)])
    metric.evaluate(1)
    (written,) = json.loads((tmp_path / 'out.bbox.json').read_text())
    assert written['category_id'] == 7
