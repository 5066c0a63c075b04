"""Tables and pictures of a detector's results: AP by class, curves, drawn detections, and one page of all."""

from pathlib import Path

import numpy as np
import pandas as pd
from mmdet.evaluation import eval_map
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image, ImageOps

from menet_mm.errors import InputError
from menet_mm.evaluation import facts, page
from menet_mm.evaluation.cards import read_picture
from menet_mm.evaluation.curves import plot_curves, read_log
from menet_mm.evaluation.predictions import KEYS, read_predictions
from menet_mm.evaluation.rendering import write_page
from menet_mm.utils.pictures import draw_result

VOC_RULE = dict(iou_thr=0.5, use_legacy_coordinate=True, logger='silent')  # for ``eval_map``
DRAWN_SCORE = 0.3  # detections below it are not drawn


def write_report(cfg: Config, predictions: Path, work_dir: Path) -> None:
    """Write ``report.html``, ``ap_by_class.csv``, ``facts.json`` and two pictures into ``work_dir/report`` and print the table.

    ``predictions`` are by ``tools/test.py --out``. ``InputError`` if there is no log, or they or the pictures do not fit.
    """
    log, found = read_log(work_dir), read_predictions(predictions)
    dataset = DATASETS.build({**cfg.test_dataloader.dataset, '_scope_': 'mmdet'})
    matched = match(dataset, found)
    table = ap_by_class(dataset.metainfo['classes'], *matched, cfg.test_evaluator.get('eval_mode', '11points'))
    out = work_dir / 'report'
    out.mkdir(exist_ok=True)
    draw_detections(dataset, found, *matched, out / 'detections.png')
    plot_curves(log, out / 'curves.png')
    table.to_csv(out / 'ap_by_class.csv', index=False, float_format='%.4f')
    write_page(
        out / 'report.html',
        'detector.html.jinja',
        title=f'{Path(cfg.filename or work_dir).stem}: {len(dataset)} pictures',
        **facts.describe_run(cfg, work_dir, found, out),
        **page.describe_results(dataset, *matched, table, log),
    )
    print(f'AP at IoU 0.5 of {len(dataset)} pictures:')
    print(table.to_string(index=False, na_rep='-', float_format='{:.3f}'.format))
    if not table.objects.iloc[-1]:
        print('These pictures have no objects, so there is no AP: look at the annotations of the test set')
    print(f'checkpoint:       {facts.name_checkpoint(work_dir)}')
    print(f'page of all:      {out / "report.html"}')
    print(f'AP by class:      {out / "ap_by_class.csv"}')
    print(f'curves:           {out / "curves.png"}')
    print(f'drawn detections: {out / "detections.png"} (best pictures first, then the worst; ground truth on the left)')


def match(dataset: BaseDataset, predictions: list[dict]) -> tuple[list[list[np.ndarray]], list[dict]]:
    """Return detections and annotations of each picture as mmdet's ``eval_map`` takes them: (n, 5) arrays by class, a dict.

    Raises ``InputError`` if predictions and data set are of different pictures or classes, or of none.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    classes, found = len(dataset.metainfo['classes']), len(predictions)
    advice = 'give the config, and the --cfg-options, that they were made with'
    if not infos or [info['img_id'] for info in infos] != [prediction['img_id'] for prediction in predictions]:
        raise InputError(f'the {found} predictions are not of the {len(infos)} pictures of the data set: {advice}')
    detections, annotations = [], []
    for info, prediction in zip(infos, predictions, strict=True):
        boxes, scores, labels = (prediction['pred_instances'][key].numpy() for key in KEYS)
        if labels.max(initial=0) >= classes:
            raise InputError(f'the predictions have class {labels.max()}, the data set has {classes} classes: {advice}')
        rows = np.column_stack([boxes, scores])
        detections.append([rows[labels == label] for label in range(classes)])
        truth = [(*i['bbox'], i['bbox_label'], i['ignore_flag']) for i in info['instances']]
        truth = np.array(truth, np.float32).reshape(-1, 6)
        easy, hard = (truth[truth[:, 5] == difficult] for difficult in (0, 1))
        ignored = dict(bboxes_ignore=hard[:, :4], labels_ignore=hard[:, 4].astype(int))
        annotations.append(dict(ignored, bboxes=easy[:, :4], labels=easy[:, 4].astype(int)))
    return detections, annotations


def ap_by_class(classes: tuple[str, ...], detections: list, annotations: list, eval_mode: str) -> pd.DataFrame:
    """Average precision by class at IoU 0.5, by the rule of mmdet's ``VOCMetric``, whose ``eval_mode`` is ``'11points'`` or ``'area'``.

    Columns: class, objects, detections, recall, ap; the last row is the mean. Recall and AP of a class without objects are NaN.
    """
    _, results = eval_map(detections, annotations, dataset=classes, eval_mode=eval_mode, **VOC_RULE)
    rows = [(int(r['num_gts']), r['num_dets'], max(r['recall'], default=0), float(r['ap'])) for r in results]
    table = pd.DataFrame(rows, columns=['objects', 'detections', 'recall', 'ap'])
    table.insert(0, 'class', classes)
    table.loc[table.objects == 0, ['recall', 'ap']] = np.nan
    table.loc[len(table)] = ('mean', table.objects.sum(), table.detections.sum(), np.nan, table.ap.mean())
    return table


def draw_detections(
    dataset: BaseDataset, predictions: list[dict], detections: list, annotations: list, path: Path, count: int = 12
) -> None:
    """Draw ``count`` pictures on one sheet, ground truth on the left and detections on the right.

    The first half has the highest AP of a picture, or scores if none has objects, the second the lowest. ``detections`` and
    ``annotations`` are those of :func:`match`. Raises ``InputError`` if a picture cannot be read or the sheet not be written.
    """
    order, half = _rank(detections, annotations), count // 2
    chosen = order[:half] + order[half:][-half:]
    width, height = 600, 300  # of a pair of drawings
    classes, sheet = dataset.metainfo['classes'], Image.new('RGB', (3 * width, -(-len(chosen) // 3) * height), 'white')
    for place, i in enumerate(chosen):
        image = read_picture(dataset.get_data_info(i))
        truth = zip(annotations[i]['bboxes'].tolist(), annotations[i]['labels'].tolist(), strict=True)
        truth = [{'class': classes[label], 'label': label, 'box': box} for box, label in truth]
        found = zip(*(predictions[i]['pred_instances'][key].tolist() for key in KEYS), strict=True)
        found = [{'class': classes[b], 'label': b, 'score': s, 'box': box} for box, s, b in found if s >= DRAWN_SCORE]
        drawings = [draw_result(image, dict(detections=entries)) for entries in (truth, found)]
        drawing = ImageOps.contain(Image.fromarray(np.hstack(drawings)[..., ::-1]), (width, height))
        sheet.paste(drawing, (place % 3 * width, place // 3 * height))
    try:
        sheet.save(path)
    except OSError:
        raise InputError(f'{path} cannot be written: make room on the disk, or give another --work-dir') from None


def _rank(detections: list, annotations: list) -> list[int]:
    """Order pictures with objects by the AP of each, or if none has any, all pictures by their highest score."""
    quality = {}
    for i, (image, annotation) in enumerate(zip(detections, annotations, strict=True)):
        if len(annotation['labels']):
            drawn = [rows[rows[:, 4] >= DRAWN_SCORE] for rows in image]
            quality[i], _ = eval_map([drawn], [annotation], eval_mode='area', nproc=1, **VOC_RULE)
    quality = quality or {i: np.vstack(image)[:, 4].max(initial=0) for i, image in enumerate(detections)}
    return sorted(quality, key=quality.get, reverse=True)
