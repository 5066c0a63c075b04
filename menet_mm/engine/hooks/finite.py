"""Stopping a training whose loss or weights are no longer finite, before any of it is saved."""

from __future__ import annotations

import io
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from menet_mm.checkpoints.finite import find_nonfinite
from menet_mm.checkpoints.load import check_finite
from menet_mm.errors import InputError
from menet_mm.registry import HOOKS
from menet_mm.utils.storage import AtomicBackend

ADVICE = 'lower optim_wrapper.optimizer.lr, clip gradients with optim_wrapper.clip_grad'


@HOOKS.register_module()
class FiniteHook(Hook):
    """Check the loss of every iteration, and weights, averaged weights and optimizer before each save.

    The loss is a number already: mmengine logs it. The batch is left in ``nonfinite_<iteration>.pth`` of the work dir, a
    dict of plain values and tensors. Buffers that are not finite from the start, such as masks, are left alone.

    Raises:
        InputError: with iteration, learning rate and pictures, or with the tensors; also for a checkpoint to load.
    """

    def before_train(self, runner: Runner) -> None:
        self.exempt = set(find_nonfinite(getattr(runner.model, 'module', runner.model).state_dict()))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        logged = runner.message_hub.log_scalars
        losses = {key: float(logged[f'train/{key}'].current()) for key in outputs or () if f'train/{key}' in logged}
        if math.isfinite(losses.get('loss', 0)):
            return
        iteration, rates = runner.iter + 1, [group['lr'] for group in runner.optim_wrapper.param_groups]
        pictures = _find_pictures(data_batch)
        suffix = f'_rank{get_rank()}' if get_rank() else ''
        path = Path(runner.work_dir, f'nonfinite_{iteration}{suffix}.pth')
        content = dict(iter=iteration, epoch=runner.epoch + 1, lr=rates, losses=losses, pictures=pictures)
        with suppress(OSError), io.BytesIO() as file:  # the message matters more than the file
            torch.save(content | dict(batch=_plain(data_batch)), file)
            AtomicBackend().put(file.getvalue(), path)
        more = f' and {len(pictures) - 2} more' if len(pictures) > 2 else ''
        raise InputError(
            f'the loss is {losses["loss"]} in iteration {iteration}, epoch {runner.epoch + 1}, at a learning rate of '
            f'{max(rates):g}, of pictures {", ".join(pictures[:2]) or "without names"}{more}: {ADVICE}, or look at the '
            f'batch in {path}; nothing of it was saved'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        parts = [checkpoint.get(key) for key in ('state_dict', 'ema_state_dict', 'optimizer')]
        found = [name for part in parts for name in find_nonfinite(part)]
        if found := [name for name in found if name.removeprefix('module.') not in self.exempt]:
            raise InputError(
                f'{len(found)} tensors are not finite after iteration {checkpoint["meta"]["iter"]} (the first is '
                f'{found[0]}): {ADVICE}; nothing of it was saved'
            )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        check_finite(runner.model, checkpoint)


def _find_pictures(batch: object) -> list[str]:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    return [str(sample.img_path) for sample in samples or () if getattr(sample, 'img_path', None)]


def _plain(value: object) -> object:
    """Turn a batch into what can be loaded without running code."""
    if isinstance(value, BaseDataElement):
        return _plain(dict(value.all_items()))
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist() if value.dtype.kind in 'OUS' else torch.as_tensor(value)
    if hasattr(value, 'tensor'):  # mmdet's boxes
        return _plain(value.tensor)
    return value if isinstance(value, str | int | float | bool | None) else str(value)
