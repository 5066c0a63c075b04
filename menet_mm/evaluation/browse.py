"""A look at the data before a training: pictures with their labels, as they are and as the network gets them."""

from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.structures import BaseDataElement

from menet_mm.datasets.doctor.start import check_annotations, leaf_configs
from menet_mm.errors import InputError
from menet_mm.utils.pictures import draw_result, read_image, write_image

CELL = 300  # pixels of a drawing's side
PAIRS = 4  # in a row of the sheet
PREPROCESSORS = dict(mmdet='DetDataPreprocessor', mmpretrain='ClsDataPreprocessor')


def draw_data(cfg: Config, split: str, number: int, path: Path) -> dict[str, int]:
    """Draw ``number`` pictures of a ``split``, evenly over it, in pairs: as the file is, and as the network gets it.

    Returns ``pictures``, drawn ones, ``all`` of the split, and the labels of them ``before`` and ``after`` the pipeline.
    Raises ``InputError`` if the config has no such split, files are missing or broken, or the sheet cannot be written.
    """
    if not cfg.get(f'{split}_dataloader'):
        raise InputError(f'the config has no {split}_dataloader: choose another --split')
    chosen = cfg[f'{split}_dataloader'].dataset
    check_annotations(chosen, cfg.get('data_hint'))
    init_default_scope(cfg.get('default_scope'))
    dataset = DATASETS.build(chosen)
    if not len(dataset):
        raise InputError(f'the {split} split has no pictures: correct its list')
    originals, items = [], []
    for index in np.unique(np.linspace(0, len(dataset) - 1, number).round().astype(int)).tolist():
        info = dataset.get_data_info(index)
        _read(info)  # a file that is bad is named before the pipeline meets it
        items.append(dataset[index])
        # If no label is left of a picture, MMEngine takes another one.
        used = items[-1]['data_samples'].get('img_path', info['img_path'])
        originals.append(info if used == info['img_path'] else _find(dataset, used))
    classes = dataset.metainfo.get('classes')
    images, samples = _preprocess(cfg, items, split == 'train')
    before, after = [_original_labels(info, classes) for info in originals], []
    late = _loads_late(next(leaf_configs(chosen)).get('pipeline') or [])
    for sample in samples:
        after.append(_network_labels(sample, classes, np.array(sample.scale_factor) if late else np.ones(2)))
    drawings = [
        (_draw(_read(info), label), _draw(*new))
        for info, label, *new in zip(originals, before, images, after, strict=True)
    ]
    write_image(path, _sheet([np.hstack(pair) for pair in drawings]))
    counts = [sum(len(entries) for label in labels for entries in label.values()) for labels in (before, after)]
    return dict(pictures=len(items), all=len(dataset), before=counts[0], after=counts[1])


def _read(info: dict) -> np.ndarray:
    image, defect = read_image(info['img_path'])
    if defect:
        raise InputError(
            f'picture {info["img_path"]} cannot be read ({defect}): replace it, or take its id out of the list'
        )
    return image


def _find(dataset: BaseDataset, path: str) -> dict:
    return next(info for info in map(dataset.get_data_info, range(len(dataset))) if info['img_path'] == path)


def _preprocess(cfg: Config, items: list[dict], training: bool) -> tuple[list[np.ndarray], list[BaseDataElement]]:
    """Let the model's preprocessor make a batch, and turn its pictures back into (H, W, 3), 8 bit, blue first."""
    spec = dict(cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {})
    spec.setdefault('type', PREPROCESSORS.get(cfg.get('default_scope')))
    spec.setdefault('_scope_', cfg.get('default_scope'))
    if augments := (cfg.model.get('train_cfg') or {}).get('augments'):  # where MMPretrain's classifiers have Mixup
        spec.setdefault('batch_augments', dict(augments=augments, probs=cfg.model.train_cfg.get('probs')))
    bytes_in = all(item['inputs'].dtype == torch.uint8 for item in items)
    batch = MODELS.build(spec)(pseudo_collate(items), training)
    pixels = batch['inputs'].float()
    if spec.get('mean') is not None:
        pixels = pixels * torch.tensor(spec['std']).view(-1, 1, 1) + torch.tensor(spec['mean']).view(-1, 1, 1)
    if not bytes_in:  # the pipeline has changed the scale already, as it likes
        low, high = pixels.amin((1, 2, 3), True), pixels.amax((1, 2, 3), True)
        pixels = 255 * (pixels - low) / (high - low).clamp(min=1e-6)
    if spec.get('bgr_to_rgb') or spec.get('to_rgb'):
        pixels = pixels.flip(1)
    pixels = pixels.round().clamp(0, 255).byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return [np.ascontiguousarray(image) for image in pixels.numpy()], batch['data_samples']


def _loads_late(pipeline: list[dict]) -> bool:
    """Whether annotations are loaded behind the resizing, as for tests, so that boxes are in pixels of the file."""
    kinds = [step['type'].rpartition('.')[2] for step in pipeline if isinstance(step.get('type'), str)]
    resize = next((i for i, kind in enumerate(kinds) if 'Resize' in kind), len(kinds))
    return 'LoadAnnotations' in kinds and kinds.index('LoadAnnotations') > resize


def _original_labels(info: dict, classes: tuple[str, ...] | None) -> dict[str, list[dict]]:
    """Return what :func:`draw_result` takes for an entry of a data set."""
    if 'instances' not in info:
        labels = np.atleast_1d(info['gt_label']).tolist()
        return dict(classes=[_entry(label, classes) for label in labels])
    found = [(i['bbox_label'], i['bbox'], i.get('ignore_flag')) for i in info['instances']]
    return dict(detections=[dict(_entry(label, classes, ignored), box=list(box)) for label, box, ignored in found])


def _network_labels(
    sample: BaseDataElement, classes: tuple[str, ...] | None, scale: np.ndarray
) -> dict[str, list[dict]]:
    """Return the same of what the network gets; ``scale`` (2,) brings boxes into its pixels."""
    if 'gt_instances' in sample:
        detections = []
        for instances, ignored in ((sample.gt_instances, False), (sample.get('ignored_instances', []), True)):
            if len(instances):
                boxes = instances.bboxes.numpy() * np.tile(scale, 2)
                rows = zip(instances.labels.tolist(), boxes.tolist(), strict=True)
                detections += [dict(_entry(label, classes, ignored), box=box) for label, box in rows]
        return dict(detections=detections)
    if 'gt_score' in sample:  # Mixup and its like give a picture several classes
        shares = sample.gt_score.numpy()
        found = [(label, shares[label]) for label in np.argsort(-shares)[:2].tolist() if shares[label] > 0]
        return dict(classes=[dict(_entry(label, classes), score=share) for label, share in found])
    return dict(classes=[_entry(label, classes) for label in sample.gt_label.tolist()])


def _entry(label: int, classes: tuple[str, ...] | None, ignored: bool = False) -> dict:
    return {'class': (classes[label] if classes else str(label)) + ' (ignored)' * bool(ignored), 'label': label}


def _draw(image: np.ndarray, labels: dict[str, list[dict]]) -> np.ndarray:
    """Draw labels on a picture, made to fit a cell of the sheet before, so that texts have one size."""
    scale = CELL / max(image.shape[:2])
    size = [max(1, round(side * scale)) for side in image.shape[1::-1]]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    boxes = [dict(entry, box=[value * scale for value in entry['box']]) for entry in labels.get('detections', [])]
    drawing = draw_result(small, dict(labels, detections=boxes))
    right, bottom = CELL + 4 - size[0], CELL + 4 - size[1]
    return cv2.copyMakeBorder(drawing, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def _sheet(cells: list[np.ndarray]) -> np.ndarray:
    """Arrange drawings of one size in rows; a thick white line stands between pairs."""
    cells = [cv2.copyMakeBorder(cell, 6, 6, 6, 6, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for cell in cells]
    columns = min(PAIRS, len(cells))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    return np.vstack([np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)])
