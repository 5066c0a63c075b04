"""From the config of ``tools/train.py`` and ``tools/test.py`` to a Runner: checks, processes, memory."""

from __future__ import annotations

import ctypes
import platform

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from menet_mm.checkpoints import read_checkpoint, use_tensors_only
from menet_mm.datasets.doctor import check_annotations
from menet_mm.errors import InputError

#: Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def check_checkpoint(path: str, trust: bool) -> None:
    """Check that a checkpoint can be read before anything is built; make all loading as careful as that.

    Args:
        path: file or address.
        trust: whether it may hold more than tensors and plain values.

    Raises:
        InputError: if there is no such file or it is not fit to be loaded.
    """
    use_tensors_only(trust)
    if '://' not in path or path.startswith('http'):
        read_checkpoint(path, trust)


def check_data(cfg: Config, *splits: str) -> None:
    """Check the annotation files of the final config's data sets; ``splits`` are of train, val, test.

    Raises:
        InputError: naming the first file that is missing or broken.
    """
    for split in splits:
        if cfg.get(f'{split}_dataloader'):
            check_annotations(cfg[f'{split}_dataloader'].dataset, cfg.get('data_hint'))


def build_runner(cfg: Config) -> Runner:
    """Build the runner, and start the processes of a distributed run.

    Raises:
        InputError: if a launcher other than torchrun is used without a GPU.
    """
    _start_processes(cfg)
    if not torch.cuda.is_available():
        keep_memory()
    runner = Runner.from_cfg(cfg)
    runner.logger.addFilter(lambda record: 'will be deprecated in future' not in record.getMessage())
    return runner


def check_batches(runner: Runner) -> None:
    """Check that the training set fills at least one batch; building a schedule for none would fail obscurely.

    Raises:
        InputError: if it does not.
    """
    loader = runner.train_loop.dataloader
    if len(loader) == 0:
        raise InputError(
            f'the training set has {len(loader.dataset)} pictures but a batch takes {loader.batch_size}: '
            'set train_dataloader.batch_size to no more than that'
        )


def _start_processes(cfg: Config) -> None:
    """Start the process group of a distributed run without a GPU, for which mmengine has no way of its own.

    mmengine's launchers call ``torch.cuda.set_device`` and hand DDP a device id. It skips a group that is there already.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise InputError(f'--launcher {cfg.launcher} needs a GPU; without one use tools/dist_train.sh or dist_test.sh')
    torch.distributed.init_process_group(backend='gloo')
    cfg.model_wrapper_cfg = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)


def keep_memory() -> None:
    """Let glibc keep memory that was freed, in this process; does nothing with another C library.

    A CPU training frees and takes the same large blocks in every iteration. By default each goes back to the kernel, which
    fills it with zeros before it gives it out again: a fifth of the time (docs/deployment.md).
    """
    if platform.libc_ver()[0] == 'glibc':
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
