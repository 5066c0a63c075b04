"""Our AP by class against another library's: mean_average_precision, which follows the VOC 2007 rule by itself.

Both count a pixel's width into boxes (IoU with +1), as VOC's own code does; mmdet's VOCMetric does so by default.
"""

import numpy as np
import pytest
from mean_average_precision import MetricBuilder

from menet_mm.report import ap_by_class

CLASSES = ('a', 'b', 'c')


def theirs(detections: list, annotations: list, classes: int) -> list[float]:
    """11-point AP at IoU 0.5 of each class, of pictures without difficult boxes: there this library errs.

    Its flags of difficult boxes are mixed up between boxes (np.repeat where np.tile is meant).
    """
    metric = MetricBuilder.build_evaluation_metric('map_2d', async_mode=False, num_classes=classes)
    for found, truth in zip(detections, annotations, strict=True):
        assert not len(truth['labels_ignore'])
        flags = np.zeros((len(truth['labels']), 2))
        boxes = np.column_stack([truth['bboxes'], truth['labels'], flags])
        rows = [np.column_stack([r[:, :4], np.full(len(r), label), r[:, 4]]) for label, r in enumerate(found)]
        metric.add(np.vstack(rows), boxes)
    value = metric.value(0.5, recall_thresholds=np.arange(0, 1 + 1e-3, 0.1), mpolicy='greedy')
    return [float(value[0.5][label]['ap']) for label in range(classes)]


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


@pytest.mark.parametrize('seed', range(8))
def test_ap_of_random_detections(seed):
    detections, annotations = random_case(seed)
    table = ap_by_class(CLASSES, detections, annotations, '11points')
    expected = theirs(detections, annotations, len(CLASSES))
    assert min(expected) > 0.05
    assert max(expected) < 0.95
    assert table.ap[:-1].tolist() == pytest.approx(expected, abs=1e-6)


def test_difficult_boxes_count_for_nothing():
    detections, annotations = random_case(0, difficult=0.3)
    easy = [dict(a, bboxes_ignore=a['bboxes_ignore'][:0], labels_ignore=a['labels_ignore'][:0]) for a in annotations]
    with_difficult = ap_by_class(CLASSES, detections, annotations, '11points')
    without = ap_by_class(CLASSES, detections, easy, '11points')
    assert with_difficult.objects.tolist() == without.objects.tolist()
    assert (with_difficult.ap > without.ap).any()  # their detections are no longer held against the detector
