"""Speed of input pipelines: SSD's training pipeline beside MMDetection's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DATASETS

from menet_mm.datasets.doctor.start import check_annotations, leaf_configs
from menet_mm.errors import InputError
from menet_mm.utils.config import find_config

#: The config whose training pipeline and data are measured.
CONFIG = 'ssd_menet228_voc12'


def mmdet_ssd_pipeline() -> list[dict]:
    """SSD's training pipeline of MMDetection. Ours drops boxes below a pixel in a step more."""
    return [dict(step) for step in get_config('mmdet::pascal_voc/ssd300_voc0712.py').train_pipeline]


def compare_with_mmdet(rounds: int) -> list[dict[str, str | float]]:
    """Measure MMDetection's pipeline and ours on VOC 2012, see :func:`measure_pipelines`.

    Raises:
        InputError: if the data set is missing or broken.
    """
    cfg = Config.fromfile(find_config(CONFIG))
    dataset = cfg.train_dataloader.dataset
    check_annotations({'_scope_': 'mmdet', **dataset}, cfg.get('data_hint'))
    return measure_pipelines(dict(mmdet=mmdet_ssd_pipeline(), menet_mm=cfg.train_pipeline), dataset, 300, rounds)


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
    leaf = {'_scope_': 'mmdet', **next(leaf_configs(dataset_cfg))}
    check_annotations(leaf)
    dataset = DATASETS.build({**leaf, 'pipeline': []})
    indices = np.linspace(0, len(dataset) - 1, images).astype(int).tolist()
    composed = [Compose([{'_scope_': 'mmdet', **step} for step in pipeline]) for pipeline in pipelines.values()]
    with _one_thread():
        seconds = _take_turns(composed, dataset.get_data_info, indices, rounds + 1)
    speed = images / seconds[1:]
    return [
        dict(
            pipeline=name,
            images_per_second=float(np.median(speed[:, k])),
            low=float(speed[:, k].min()),
            high=float(speed[:, k].max()),
            ratio=float(np.median(speed[:, k] / speed[:, 0])),
        )
        for k, name in enumerate(pipelines)
    ]


def _take_turns(
    composed: Sequence[Callable[[dict], object]], read: Callable[[int], dict], indices: Sequence[int], rounds: int
) -> np.ndarray:
    """Measure seconds (rounds, pipelines) for all pictures."""
    seconds = np.zeros((rounds, len(composed)))
    for i in range(rounds):
        for j, index in enumerate(indices):
            # Each is first at some picture, where it finds the processor's caches cold.
            for k in np.roll(np.arange(len(composed)), -j):
                info = read(index)
                np.random.seed(i * len(indices) + j)
                start = perf_counter()
                composed[k](info)
                seconds[i, k] += perf_counter() - start
    return seconds


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
