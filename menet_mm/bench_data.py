"""Speed of input pipelines: images per second of one worker, several pipelines side by side on the same pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.registry import DATASETS

from menet_mm.datasets.check import check_annotations, leaf_configs
from menet_mm.errors import InputError

#: SSD's as in mmdet's configs/pascal_voc/ssd300_voc0712.py. Ours drops boxes below a pixel in a step more.
MMDET_SSD_PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Expand', mean=[123.675, 116.28, 103.53], to_rgb=True, ratio_range=(1, 4)),
    dict(type='MinIoURandomCrop', min_ious=(0.1, 0.3, 0.5, 0.7, 0.9), min_crop_size=0.3),
    dict(type='Resize', scale=(300, 300), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18,
    ),
    dict(type='PackDetInputs'),
]


def measure_pipelines(
    pipelines: dict[str, list[dict]], dataset_cfg: dict, images: int = 200, rounds: int = 5
) -> list[dict[str, str | float]]:
    """Run every pipeline on every picture in turn, with the same seed for each picture, in one process and one thread.

    Taking turns at each picture lets all pipelines see the same load of the machine. The first round is not measured.

    Args:
        pipelines: lists of transform configs by name; the ratios are to the first one's speed.
        dataset_cfg: config of a data set of mmdet, of which ``images`` pictures are taken evenly; its own pipeline does
            not matter. Of a wrapped set the innermost first one is taken.
        images: pictures in a round.
        rounds: measured rounds.

    Returns:
        A row for each pipeline: ``pipeline``, ``images_per_second`` (median over the rounds), ``low`` and ``high`` (its
        least and largest), ``ratio`` (median over the rounds).

    Raises:
        InputError: if a count is below 1, no pipeline is given, or the data set is missing or broken.
    """
    if images < 1 or rounds < 1:
        raise InputError(f'at least one image and one round are needed, but got images={images} and rounds={rounds}')
    if not pipelines:
        raise InputError('no pipeline to measure; give at least one')
    leaf = next(leaf_configs(dataset_cfg))
    check_annotations(leaf)
    dataset = DATASETS.build({'_scope_': 'mmdet', **leaf, 'pipeline': []})
    indices = np.linspace(0, len(dataset) - 1, images).astype(int).tolist()
    composed = {
        name: Compose([{'_scope_': 'mmdet', **step} for step in pipeline]) for name, pipeline in pipelines.items()
    }
    names = list(composed)
    seconds = np.zeros((rounds + 1, len(names)))
    with _one_thread():
        for i in range(rounds + 1):
            for j, index in enumerate(indices):
                # Each is first at some picture, where it finds the processor's caches cold.
                for k in (*range(j % len(names), len(names)), *range(j % len(names))):
                    info = dataset.get_data_info(index)
                    np.random.seed(i * images + j)
                    start = perf_counter()
                    composed[names[k]](info)
                    seconds[i, k] += perf_counter() - start
    speed = images / seconds[1:]
    return [
        dict(
            pipeline=name,
            images_per_second=float(np.median(speed[:, k])),
            low=float(speed[:, k].min()),
            high=float(speed[:, k].max()),
            ratio=float(np.median(speed[:, k] / speed[:, 0])),
        )
        for k, name in enumerate(names)
    ]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit OpenCV and torch to one thread, as in a worker of a data loader, and put numpy's generator back afterwards."""
    threads, state = (cv2.getNumThreads(), torch.get_num_threads()), np.random.get_state()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads[0])
        torch.set_num_threads(threads[1])
        np.random.set_state(state)
