"""Our AP by class against another library's (``independent_ap``), on random detections.

On a trained detector's predictions: tests/tools/test_detector.py.
"""

import numpy as np
import pytest

from menet_mm.report import ap_by_class

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
