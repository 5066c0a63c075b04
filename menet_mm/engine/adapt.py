"""Settings of data that ``tools/`` mend before anything is built, each with a line in the log, or refuse."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import METRICS

from menet_mm.datasets.doctor.start import find_class, is_remote, leaf_configs
from menet_mm.datasets.libraries import class_names
from menet_mm.errors import InputError

SPLITS = ('train', 'val', 'test')
#: By the name of the class: where it comes from, if ours of the same name reads more.
OURS = dict.fromkeys(('XMLDataset', 'VOCDataset', 'CocoDataset', 'CocoMetric'), 'mmdet') | {
    'CustomDataset': 'mmpretrain'
}


def adapt_data(cfg: Config) -> None:
    """Put our readers in the place of the libraries' own, and mend settings that the data do not fit.

    Raises:
        InputError: if a metric cannot work with its data.
    """
    lines: dict[str | None, None] = {}  # test is often the same as val
    for split in SPLITS:
        loader, evaluator = cfg.get(f'{split}_dataloader'), cfg.get(f'{split}_evaluator') or []
        if not loader or not isinstance(loader.get('dataset'), dict):
            continue
        if loader.get('num_workers', 0) == 0:  # torch refuses these without workers
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
        leaves = [leaf for leaf in leaf_configs(loader.dataset) if isinstance(leaf, dict)]
        for leaf in leaves:
            if not is_remote(leaf):
                _use_our_class(leaf, find_class(leaf))
            if isinstance((leaf.get('metainfo') or {}).get('classes'), str) and (names := class_names(leaf)):
                leaf.metainfo.classes = tuple(names)  # of a text file
        for metric in [evaluator] if isinstance(evaluator, dict) else evaluator:
            if len(leaves) == 1:
                lines[_check_metric(f'{split}_evaluator', metric, leaves[0], cfg.get('data_hint'))] = None
            lines[_fit_top_k(cfg, metric)] = None
    for line in filter(None, lines):
        print_log(line, 'current')


def _use_our_class(config: ConfigDict, kind: type | None) -> None:
    if kind is not None and kind.__module__.partition('.')[0] == OURS.get(kind.__name__):
        config.type = f'menet_mm.{kind.__name__}'


def _check_metric(place: str, metric: ConfigDict, dataset: ConfigDict, data_hint: str | None) -> str | None:
    """Check that COCO's metric has its ground truth, which is the data set's own."""
    kind = find_class(metric, METRICS)
    if getattr(kind, '__name__', None) != 'CocoMetric':
        return None
    given, root = metric.get('ann_file'), dataset.get('data_root') or ''
    if given is None:
        keys = [key for step in dataset.get('pipeline', ()) for key in step.get('meta_keys', ())]
        if 'instances' not in keys:
            raise InputError(
                f'{place}: CocoMetric finds no objects to compare with: set its ann_file to the COCO file of these pictures, '
                "add 'instances' to the meta_keys of PackDetInputs, or use VOCMetric"
            )
        return None
    if '://' in str(given) or is_remote(dataset):
        return None
    line, own = None, Path(root, dataset.get('ann_file') or '')
    if not Path(given).is_file() and root and str(given) == f'{root}{dataset.get("ann_file")}':
        line = f'{given} is read as {own}, since data_root has no slash at its end'
        metric.ann_file = given = str(own)
    if not Path(given).is_file():
        raise InputError(f'{place}: {given} does not exist; {data_hint or "set ann_file"}, or set it to {own}')
    if not metric.get('sort_categories') and not metric.get('backend_args'):
        _use_our_class(metric, kind)
    if (
        own.suffix == '.json'
        and own.is_file()
        and not own.samefile(given)
        and (missing := _image_ids(own) ^ _image_ids(Path(given)))
    ):
        raise InputError(
            f'{place}: {given} is not of the same pictures as {own}, which the data set reads: {len(missing)} ids are in '
            'one of them only; give both the same file'
        )
    return line


def _image_ids(path: Path) -> set[str]:
    try:
        return {str(image['id']) for image in json.loads(path.read_bytes())['images']}
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f'{path} is not valid COCO JSON ({type(error).__name__}: {error}); export it again') from None


def _fit_top_k(cfg: Config, metric: ConfigDict) -> str | None:
    """Leave out a top-5 accuracy where there are fewer classes."""
    number = ((cfg.get('model') or {}).get('head') or {}).get('num_classes')
    top = metric.get('topk')
    if getattr(find_class(metric, METRICS), '__name__', None) != 'Accuracy' or not number or not top:
        return None
    top = (top,) if isinstance(top, int) else tuple(top)
    if kept := tuple(k for k in top if k <= number):
        metric.topk = kept
        if kept != top:
            left_out = ', '.join(f'top-{k}' for k in top if k > number)
            return f'{left_out} accuracy is left out: there are {number} classes'
    return None
