"""Tables and pictures of a detector's results: AP by class, loss and mAP curves, drawn detections."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import pandas as pd
from mmdet.evaluation import eval_map
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData
from torch import Tensor

from menet_mm.checkpoints import read_plain_pickle
from menet_mm.errors import InputError

matplotlib.use('Agg')
import matplotlib.pyplot as plt

#: Detections below this score are not drawn.
DRAWN_SCORE = 0.3


def read_predictions(path: Path) -> list[dict]:
    """Read what ``tools/test.py --out`` wrote; nothing that a foreign file brings along is run.

    Returns:
        For each picture ``img_id``, ``img_path`` and ``pred_instances``: tensors ``bboxes``, ``scores``, ``labels``.

    Raises:
        InputError: if it is damaged, something else, or holds more than tensors and plain values.
    """
    advice = f'write it again with `tools/test.py CONFIG CHECKPOINT --out {path}`'
    with path.open('rb') as file:
        try:
            predictions = read_plain_pickle(file)
        except Exception as error:  # a damaged pickle can fail in any way
            reason = str(error).split('\n')[0].rstrip('.') or type(error).__name__
            raise InputError(f'{path} cannot be read as predictions ({reason}): {advice}') from None
    if not isinstance(predictions, list) or not all(map(_is_prediction, predictions)):
        raise InputError(f"{path} is no list of a detector's predictions: {advice}")
    return predictions


def _is_prediction(value: object) -> bool:
    found = value.get('pred_instances') if isinstance(value, dict) else None
    return (
        isinstance(found, dict)
        and {'img_id', 'img_path'} <= value.keys()
        and all(isinstance(found.get(key), Tensor) for key in ('bboxes', 'scores', 'labels'))
    )


def match(dataset: BaseDataset, predictions: list[dict]) -> tuple[list[list[np.ndarray]], list[dict]]:
    """Bring predictions and ground truth into the form and order that mmdet's ``eval_map`` takes.

    Args:
        dataset: the data set that was tested.
        predictions: from :func:`read_predictions`.

    Returns:
        Detections, for each image a list of (n, 5) arrays by class; and annotations, for each image a dict.

    Raises:
        InputError: if the two are of different images.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    if [info['img_id'] for info in infos] != [prediction['img_id'] for prediction in predictions]:
        raise InputError(
            f'the predictions are of {len(predictions)} other pictures than the {len(infos)} of the data set: give the '
            'config, and the --cfg-options, that they were made with'
        )
    detections, annotations = [], []
    for info, prediction in zip(infos, predictions, strict=True):
        instances = prediction['pred_instances']
        rows = np.column_stack([instances['bboxes'].numpy(), instances['scores'].numpy()])
        labels = instances['labels'].numpy()
        detections.append([rows[labels == label] for label in range(len(dataset.metainfo['classes']))])
        boxes = np.array([i['bbox'] for i in info['instances']], np.float32).reshape(-1, 4)
        kinds = np.array([i['bbox_label'] for i in info['instances']], int)
        ignored = np.array([i['ignore_flag'] for i in info['instances']], bool)
        annotations.append(
            dict(
                bboxes=boxes[~ignored],
                labels=kinds[~ignored],
                bboxes_ignore=boxes[ignored],
                labels_ignore=kinds[ignored],
            )
        )
    return detections, annotations


def ap_by_class(
    classes: tuple[str, ...], detections: list, annotations: list, eval_mode: str, iou_thr: float = 0.5
) -> pd.DataFrame:
    """Average precision by class, by the rule of mmdet's ``VOCMetric``.

    Args:
        classes: names of the classes.
        detections: as :func:`match` returns them.
        annotations: as :func:`match` returns them.
        eval_mode: ``'11points'`` or ``'area'``.
        iou_thr: overlap from which a detection counts as right.

    Returns:
        Columns class, objects, detections, recall, ap; a class without objects has no AP. The last row is the mean over
        the classes that have objects.
    """
    _, results = eval_map(
        detections,
        annotations,
        iou_thr=iou_thr,
        dataset=classes,
        logger='silent',
        eval_mode=eval_mode,
        use_legacy_coordinate=True,
    )
    rows = [
        dict(
            {'class': name},
            objects=int(result['num_gts']),
            detections=int(result['num_dets']),
            recall=float(result['recall'][-1]) if len(result['recall']) else 0.0,
            ap=float(result['ap']) if result['num_gts'] else float('nan'),
        )
        for name, result in zip(classes, results, strict=True)
    ]
    table = pd.DataFrame(rows)
    mean = dict({'class': 'mean'}, objects=table.objects.sum(), detections=table.detections.sum(), ap=table.ap.mean())
    return pd.concat([table, pd.DataFrame([mean])], ignore_index=True)


def read_log(work_dir: Path) -> pd.DataFrame:
    """Read mmengine's scalars of all runs in a work dir; where a resumed run repeats a step, the later one counts.

    Raises:
        InputError: if there is no log of a training.
    """
    lines = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        # A training that was killed may have left half a line.
        lines += [json.loads(line) for line in path.read_text().splitlines() if line.endswith('}')]
    log = pd.DataFrame(lines)
    if 'loss' not in log:
        raise InputError(f'no training log in {work_dir}: give the --work-dir of a training')
    return log


def plot_curves(log: pd.DataFrame, path: Path) -> None:
    """Plot the training loss and each validation metric against epochs.

    Args:
        log: from :func:`read_log`.
        path: picture to write.
    """
    train = log[log.loss.notna()].drop_duplicates('iter', keep='last').sort_values('iter')
    per_epoch = train.groupby('epoch').iter.max().diff().median()
    per_epoch = per_epoch if per_epoch > 0 else train.iter.max()
    metrics = [
        c for c in log if c.startswith(('pascal_voc/mAP', 'coco/bbox_mAP', 'accuracy/')) and log[c].notna().any()
    ]
    fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout='constrained')
    for name in ('loss', 'loss_cls', 'loss_bbox'):
        if name in train:
            left.plot(train.iter / per_epoch, train[name], label=name)
    left.set(xlabel='epoch', ylabel='training loss', ylim=(0, None))
    left.legend()
    for name in metrics:
        values = log[log[name].notna()].drop_duplicates('step', keep='last').sort_values('step')
        right.plot(values.step, values[name], marker='o', label=name)
    right.set(xlabel='epoch', ylabel='validation', ylim=(0, None))
    if metrics:
        right.legend()
    for axis in (left, right):
        axis.grid(alpha=0.3)
    fig.savefig(path, dpi=120)
    plt.close(fig)


def draw_detections(
    dataset: BaseDataset, predictions: list[dict], detections: list, annotations: list, path: Path, count: int = 12
) -> None:
    """Draw the best and the worst pictures, ground truth on the left and detections on the right, on one sheet.

    Args:
        dataset: the data set that was tested.
        predictions: from :func:`read_predictions`.
        detections: as :func:`match` returns them.
        annotations: as :func:`match` returns them.
        path: picture to write.
        count: how many pictures; the first half has the highest AP of a single picture, the second the lowest.

    Raises:
        InputError: if it cannot be written.
    """
    drawn = [[rows[rows[:, 4] >= DRAWN_SCORE] for rows in image] for image in detections]
    quality = [
        eval_map([d], [a], iou_thr=0.5, logger='silent', eval_mode='area', use_legacy_coordinate=True, nproc=1)[0]
        if len(a['labels'])
        else np.nan
        for d, a in zip(drawn, annotations, strict=True)
    ]
    order = [i for i in np.argsort(quality)[::-1] if not np.isnan(quality[i])]
    chosen = order[: count // 2] + order[count // 2 :][-(count // 2) :]
    visualizer = DetLocalVisualizer(name='report')
    visualizer.dataset_meta = dataset.metainfo
    tiles = []
    for i in chosen:
        image = cv2.cvtColor(cv2.imread(predictions[i]['img_path']), cv2.COLOR_BGR2RGB)
        sample = DetDataSample(
            gt_instances=InstanceData(bboxes=annotations[i]['bboxes'], labels=annotations[i]['labels']),
            pred_instances=InstanceData(**predictions[i]['pred_instances']),
        )
        visualizer.add_datasample('', image, sample, draw_gt=True, pred_score_thr=DRAWN_SCORE)
        picture = cv2.cvtColor(visualizer.get_image(), cv2.COLOR_RGB2BGR)
        tile = np.full((300, 600, 3), 255, np.uint8)
        scale = min(600 / picture.shape[1], 300 / picture.shape[0])
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        tile[: picture.shape[0], : picture.shape[1]] = picture
        tiles.append(tile)
    tiles += [np.full_like(tiles[0], 255)] * (-len(tiles) % 3)
    rows = [np.hstack(tiles[i : i + 3]) for i in range(0, len(tiles), 3)]
    if not cv2.imwrite(str(path), np.vstack(rows)):
        raise InputError(f'{path} cannot be written: make room on the disk, or give another --work-dir')
