"""Kinds of mistakes and what is counted from them: a case with known answers, and random ones against other code."""

import numpy as np
import pytest
import torch
from mmdet.evaluation import eval_map
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from menet_mm.datasets.shapes import CLASSES as SHAPES
from menet_mm.evaluation.calibration import calibration
from menet_mm.evaluation.coco import CocoMetric
from menet_mm.evaluation.measures import best_point, coco_ap, confusion_matrix, precision_recall
from menet_mm.evaluation.outcomes import find_outcomes
from menet_mm.evaluation.report import VOC_RULE, match

SEEDS = [(0, 0), (1, 0.3), (2, 0.3)]
SQUARES = dict(  # 100 px wide; the first lies over half of the second, all others are apart
    found=(0, 0), half=(0, 40), alone=(300, 0), other=(600, 0), difficult=(900, 0), far=(1200, 0)
)


def square(name: str, shift: float = 0) -> list[float]:
    x, y = SQUARES[name]
    return [x + shift, y, x + 99 + shift, y + 99]


def known_case() -> tuple[list, list]:
    """One picture with objects of class 0 (found, alone, difficult) and 1 (other), and a second, empty one with a detection."""
    truth = dict(
        bboxes=np.array([square('found'), square('alone'), square('other')], np.float32),
        labels=np.array([0, 0, 1]),
        bboxes_ignore=np.array([square('difficult')], np.float32),
        labels_ignore=np.array([0]),
    )
    none = dict(
        bboxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, int),
        bboxes_ignore=np.zeros((0, 4), np.float32),
        labels_ignore=np.zeros(0, int),
    )
    of_first = [
        [*square('found', 10), 0.9],  # right
        [*square('found', -10), 0.8],  # duplicate
        [*square('other', 5), 0.7],  # confusion
        [*square('alone', 60), 0.6],  # near: IoU 0.25
        [*square('difficult'), 0.5],  # ignored
        [*square('far'), 0.4],  # background
    ]
    empty = np.zeros((0, 5), np.float32)
    detections = [
        [np.array(of_first, np.float32), np.array([[*square('alone'), 0.3]], np.float32)],  # the last: confusion
        [empty, np.array([[*square('far'), 0.2]], np.float32)],
    ]
    return detections, [truth, none]


def test_kinds_of_a_known_case():
    outcomes = find_outcomes(*known_case())
    kinds = ['right', 'duplicate', 'confusion', 'near', 'ignored', 'background', 'confusion', 'background']
    assert outcomes.detections.kind.tolist() == kinds
    assert outcomes.detections.object.tolist() == [0, 0, 2, 1, -1, -1, 1, -1]
    assert outcomes.detections.image.tolist() == [0] * 7 + [1]
    assert outcomes.detections.overlap.tolist() == pytest.approx(
        [90 / 110, 90 / 110, 95 / 105, 0.25, 0, 0, 1, 0], abs=1e-5
    )
    assert outcomes.objects.score.tolist() == pytest.approx([0.9, np.nan, np.nan], nan_ok=True)


def test_confusion_of_a_known_case():
    outcomes = find_outcomes(*known_case())
    # Objects in rows: class 0, class 1, background. The duplicate, the near miss and the inventions are in the last row.
    assert confusion_matrix(outcomes, 2, 0).tolist() == [[1, 1, 0], [1, 0, 0], [3, 1, 0]]
    assert confusion_matrix(outcomes, 2, 0.65).tolist() == [[1, 0, 1], [1, 0, 0], [1, 0, 0]]
    assert confusion_matrix(outcomes, 2, 0.95).tolist() == [[0, 0, 2], [0, 0, 1], [0, 0, 0]]


def test_best_threshold_and_calibration_of_a_known_case():
    outcomes = find_outcomes(*known_case())
    point = best_point(outcomes.detections, 3)
    assert point == pytest.approx((0.9, 0.5, 1, 1 / 3))
    counted = outcomes.detections[outcomes.detections.kind != 'ignored']
    table, error = calibration(counted.score, counted.kind == 'right', bins=2)
    assert table['count'].tolist() == [3, 4]  # the ignored one is in neither
    assert table.right.tolist() == [0, 0.25]
    assert table.score.tolist() == pytest.approx([0.3, 0.75])
    assert error == pytest.approx((3 * 0.3 + 4 * 0.5) / 7)


def test_nothing_found_and_nothing_there():
    empty = np.zeros((0, 5), np.float32)
    (_, none), (found, _) = known_case()[1], known_case()[0]
    for detections, annotations in (
        ([[empty, empty]], [none]),
        ([found], [none]),
        ([[empty, empty]], [known_case()[1][0]]),
    ):
        outcomes = find_outcomes(detections, annotations)
        assert best_point(outcomes.detections, len(outcomes.objects)) is None
        assert confusion_matrix(outcomes, 2, 0)[:2].sum() == len(outcomes.objects)
        table, error = calibration(outcomes.detections.score, outcomes.detections.kind == 'right')
        assert np.isnan(error) == table.empty
        totals, by_class = coco_ap(detections, annotations)
        assert by_class.shape == (2, 4)
        assert totals['AP'] == pytest.approx(0 if len(outcomes.objects) else np.nan, nan_ok=True)


@pytest.mark.parametrize(('seed', 'difficult'), SEEDS)
def test_precision_and_recall_are_those_of_mmdet(random_case, seed, difficult):
    detections, annotations = random_case(seed, difficult)
    outcomes = find_outcomes(detections, annotations)
    _, expected = eval_map(detections, annotations, nproc=1, **VOC_RULE)
    for label, theirs in enumerate(expected):
        mine = outcomes.detections[outcomes.detections.label == label]
        objects = int((outcomes.objects.label == label).sum())
        recall, precision = precision_recall(mine, objects)
        kept = np.sort(mine[mine.kind != 'ignored'].score)[::-1]
        assert len(kept) == len(recall)  # scores are all different
        theirs_at = np.isin(np.sort(mine.score)[::-1], kept)
        assert objects == theirs['num_gts']
        assert recall == pytest.approx(theirs['recall'][theirs_at])
        assert precision == pytest.approx(theirs['precision'][theirs_at])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
        point = best_point(mine, objects)
        assert point.f1 == pytest.approx(f1.max())
        assert point.score == pytest.approx(kept[f1.argmax()])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    both = max(width, 0) * max(height, 0)
    return both / (sum((c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)) - both)


def count_by_hand(detections: list, annotations: list, threshold: float) -> np.ndarray:
    """The confusion matrix by its definition, one picture and one box after the other."""
    matrix = np.zeros((4, 4), int)
    for by_class, truth in zip(detections, annotations, strict=True):
        free, wrong = set(range(len(truth['labels']))), []
        for label, rows in enumerate(by_class):
            for row in sorted((r for r in rows if r[4] >= threshold), key=lambda r: -r[4]):
                boxes = [(iou(row, b), i) for i, b in enumerate(truth['bboxes']) if truth['labels'][i] == label]
                hard = [
                    iou(row, b)
                    for b, k in zip(truth['bboxes_ignore'], truth['labels_ignore'], strict=True)
                    if k == label
                ]
                best, index = max(boxes, default=(0, None))
                if max(hard, default=0) > best and max(hard) >= 0.5:
                    continue
                if best >= 0.5 and index in free:
                    free.remove(index)
                    matrix[label, label] += 1
                else:
                    wrong.append((label, row))
        pairs = [(iou(row, truth['bboxes'][i]), n, i) for n, (_, row) in enumerate(wrong) for i in free]
        used = set()
        for overlap, n, i in sorted(pairs, reverse=True):
            if overlap >= 0.5 and i in free and n not in used and truth['labels'][i] != wrong[n][0]:
                free.remove(i)
                used.add(n)
                matrix[truth['labels'][i], wrong[n][0]] += 1
        for i in free:
            matrix[truth['labels'][i], 3] += 1
        for n, (label, _) in enumerate(wrong):
            matrix[3, label] += n not in used
    return matrix


@pytest.mark.parametrize('threshold', [0, 0.4, 0.8])
@pytest.mark.parametrize(('seed', 'difficult'), SEEDS)
def test_confusion_of_random_detections(random_case, seed, difficult, threshold):
    detections, annotations = random_case(seed, difficult)
    matrix = confusion_matrix(find_outcomes(detections, annotations), 3, threshold)
    assert matrix.tolist() == count_by_hand(detections, annotations, threshold).tolist()
    assert matrix[:3, :3].diagonal().min() > 0


def test_coco_ap_is_what_test_py_says(shapes):
    """On predictions near the objects, by mmdet's metric, which reads the annotation file itself."""
    init_default_scope('mmdet')
    file = dict(ann_file=f'{shapes}/annotations/test.json')
    classes = dict(classes=SHAPES)
    dataset = DATASETS.build(
        dict(type='CocoDataset', **file, data_prefix=dict(img=''), metainfo=classes, pipeline=[], test_mode=True)
    )
    generator, metric, predictions = torch.Generator().manual_seed(0), CocoMetric(**file), []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        boxes = torch.tensor([one['bbox'] for one in info['instances']] * 3).reshape(-1, 4)
        labels = torch.tensor([one['bbox_label'] for one in info['instances']] * 3, dtype=torch.long)
        boxes = boxes + torch.randn(boxes.shape, generator=generator) * 3
        scores = torch.rand(len(boxes), generator=generator)
        found = dict(bboxes=boxes, scores=scores, labels=labels)
        sample = dict(img_id=info['img_id'], img_path=info['img_path'], ori_shape=(info['height'], info['width']))
        predictions.append(dict(sample, pred_instances=found))
    metric.dataset_meta = classes
    metric.process({}, predictions)
    expected = metric.evaluate(len(predictions))
    totals, by_class = coco_ap(*match(dataset, predictions))
    assert 0.2 < totals['AP'] < 0.9
    names = dict(AP='mAP', AP50='mAP_50', AP75='mAP_75', small='mAP_s', medium='mAP_m', large='mAP_l')
    for name, theirs in names.items():
        value = -1 if np.isnan(totals[name]) else totals[name]
        assert value == pytest.approx(expected[f'coco/bbox_{theirs}'], abs=6e-4)  # rounded to three digits
    assert by_class['all'].mean() == pytest.approx(totals['AP'])
