"""Random numbers that depend on a place in the training alone, not on workers or on where the training was cut.

mmengine seeds a worker once, from the seed and the worker's number, so an epoch's augmentation depends on all before it.
"""

from __future__ import annotations

import os
import random
import sys
from types import TracebackType

import numpy as np
import torch
from torch.utils.data import Dataset, get_worker_info

from menet_mm.errors import PictureError


def seed_generators(*place: int) -> None:
    """Seed Python's, NumPy's and torch's generators by whole numbers, none of them negative."""
    words = np.random.SeedSequence(place).generate_state(6)
    random.seed(words[:2].tobytes())
    np.random.seed(words[2:4])
    seed = int.from_bytes(words[4:].tobytes(), 'little')
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def _say_unless_cut_off(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # In a worker: multiprocessing's thread that hands over tensors meets these when the run ends, which says by itself why.
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)


class Draws:
    """Loads the items of a data set for a ``DataLoader``; the numbers of each are a function of (seed, epoch, index).

    torch calls ``dataset.__getitems__``, where this is set, with the indices of a batch. The epoch is in shared memory,
    since workers may live longer than one.

    Raises:
        PictureError: if an item cannot be loaded, with the name of its picture.
    """

    def __init__(self, dataset: Dataset, workers: int) -> None:
        self.dataset, self.seed = dataset, 0
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        #: By worker: its process, and the index that it is loading.
        self.loading = torch.full((max(1, workers), 2), -1).share_memory_()

    def __call__(self, indices: list[int]) -> list:
        if get_worker_info():
            sys.excepthook = _say_unless_cut_off
        return [self._draw(index) for index in indices]

    def _draw(self, index: int) -> object:
        worker = get_worker_info()
        self.loading[worker.id if worker else 0] = torch.tensor([os.getpid(), int(index)])
        # The last number keeps this apart from the seeds of iterations and epochs.
        seed_generators(self.seed, int(self.epoch), int(index), 1)
        try:
            return self.dataset[index]
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise PictureError(f'{self.name(index)} cannot be loaded ({reason})') from error

    def name(self, index: int) -> str:
        """Name an item for a message."""
        try:
            return f'picture {self.dataset.get_data_info(index)["img_path"]}'
        except Exception:  # a data set of another kind, or the item's record is what is broken
            return f'item {index} of {type(self.dataset).__name__}'

    def of_process(self, pid: int) -> str | None:
        """Name what a worker was loading last."""
        found = [index for process, index in self.loading.tolist() if process == pid]
        return self.name(found[0]) if found else None
