"""Count the operators of a detector's training iteration by part, with our SSD head and with mmdet's.

A GPU waits for Python where operators are small. The counts are made on a CPU, the same on every machine with the same
versions. There torch steps parameter by parameter; on a GPU it takes all parameters at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.build import input_size, load_config
from benchmarks.machine import describe_machine
from benchmarks.tables import to_markdown
from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import atomic_path

HEADS = ('menet_mm.SSDHead', 'mmdet.SSDHead')
#: Boxes in a picture, in turn; VOC has 2.4 on average.
OBJECTS = (1, 2, 0, 5, 4)


class Counter(TorchDispatchMode):
    """Counts the operators that are dispatched while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function: Callable, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def make_batch(size: tuple[int, int], pictures: int, classes: int) -> dict:
    """Random pictures of (h, w) with random boxes, as a data loader brings them."""
    rng = torch.Generator().manual_seed(0)
    samples = []
    for number in range(pictures):
        objects = OBJECTS[number % len(OBJECTS)]
        corners = torch.rand(objects, 2, 2, generator=rng).sort(1).values * torch.tensor(size[::-1])
        sample = DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)))
        labels = torch.randint(0, classes, (objects,), generator=rng)
        sample.gt_instances = InstanceData(bboxes=corners.flatten(1), labels=labels)
        samples.append(sample)
    return dict(inputs=[torch.zeros(3, *size, dtype=torch.uint8)] * pictures, data_samples=samples)


def count_iteration(cfg: Config, size: tuple[int, int], pictures: int) -> dict[str, int]:
    """Count the operators of a training iteration of a one-stage detector.

    Args:
        cfg: its config.
        size: (h, w) of the pictures.
        pictures: in a batch.

    Returns:
        Operators by part, and their sum as ``whole``. The iteration is the second one: the first makes anchors and the
        optimizer's state.
    """
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).train()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper.copy())
    data = make_batch(size, pictures, cfg.model.bbox_head.num_classes)
    counts: dict[str, int] = {}

    def counted(part: str, function: Callable, *args: Any) -> Any:
        with Counter() as counter:
            result = function(*args)
        counts[part] = counter.count
        return result

    for _ in range(2):
        batch = counted('data preprocessor', model.data_preprocessor, data, True)
        features = counted('backbone and neck', model.extract_feat, batch['inputs'])
        maps = counted('head', model.bbox_head, features)
        truth, ignored, metas = unpack_gt_instances(batch['data_samples'])
        losses = counted('loss', model.bbox_head.loss_by_feat, *maps, truth, metas, ignored)
        loss, _ = counted('sum of losses', model.parse_losses, losses)
        counted('backward', optimizer.backward, loss)
        counted('clip and step', optimizer.step)
        optimizer.zero_grad()
    return dict(counts, whole=sum(counts.values()))


def count_heads(network: str, batches: list[int]) -> pd.DataFrame:
    """Count the iterations of an SSD with each of the two heads.

    Args:
        network: a config.
        batches: how many pictures.

    Returns:
        Columns ``network``, ``head``, ``batch``, ``part``, ``operators``, and what it was counted with.

    Raises:
        InputError: if there is no such config, or it is not an SSD's.
    """
    cfg = load_config(network).copy()
    if not str(cfg.model.get('bbox_head', {}).get('type')).endswith('SSDHead'):
        raise InputError(f'{network} is no SSD: choose one such as ssd_menet228_voc')
    cfg.model.backbone.pop('init_cfg', None)
    stamp = describe_machine(('torch', 'onedl-mmdetection', 'mmdet'))
    rows = []
    for head in HEADS:
        cfg.model.bbox_head.type = head
        for pictures in batches:
            for part, operators in count_iteration(cfg, input_size(network), pictures).items():
                rows.append(dict(network=network, head=head, batch=pictures, part=part, operators=operators, **stamp))
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog='python -m benchmarks.dispatches')
    parser.add_argument('--network', default='ssd_menet228_voc', metavar='CONFIG', help='an SSD: %(default)s')
    parser.add_argument('--batch', type=int, nargs='+', default=[8, 32], help='pictures in a batch: 8 and 32')
    parser.add_argument(
        '--out', type=Path, metavar='CSV', default=Path('work_dirs/benchmark/dispatches.csv'), help='rows: %(default)s'
    )
    args = parser.parse_args()
    if min(args.batch) < 2:
        raise InputError('--batch must be at least 2, for batch norm on a map of one cell')
    rows = count_heads(args.network, args.batch)
    with atomic_path(args.out) as partial:
        rows.to_csv(partial, index=False)
    print(to_markdown(args.out))
    print(f'rows: {args.out}')


if __name__ == '__main__':
    run(main)
