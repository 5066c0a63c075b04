"""Going on with a training: from which file, under which settings, and never over another training's files."""

from __future__ import annotations

import fcntl
import os
import warnings
from itertools import chain
from pathlib import Path

from mmengine.dist import broadcast_object_list, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from menet_mm.checkpoints.series import list_checkpoints, newest_readable
from menet_mm.engine.hooks.checkpoint import CheckpointHook
from menet_mm.engine.loops import EpochLoop
from menet_mm.errors import InputError
from menet_mm.registry import HOOKS

#: What a training computes with; other names of a config say where it reads, writes and shows.
SETTINGS = ('model', 'data_preprocessor', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler')
SETTINGS += ('auto_scale_lr', 'randomness', 'custom_hooks', 'default_hooks', 'model_wrapper_cfg')
#: Learning rates are computed anew, as if they had been so from the start, after a change of one of these.
SCHEDULED = (
    'optim_wrapper.optimizer',
    'optim_wrapper.paramwise_cfg',
    'param_scheduler',
    'train_cfg.max_',
    'auto_scale_lr',
)
SCHEDULED += ('iterations of an epoch',)


@HOOKS.register_module()
class ResumeHook(Hook):
    """Let ``resume=True`` take the newest readable checkpoint, and a changed config take effect.

    A change is logged, setting by setting. The settings of a training are in its checkpoints' ``meta``.

    Raises:
        InputError: if another training is writing to the work dir; if it has checkpoints of one, but this one is to begin
            anew, or none of them is readable; if a checkpoint cannot be gone on from, or not under these settings.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        if not hasattr(runner._train_loop, 'dataloader'):
            return
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and hook.local), None)
        found: list = [None]
        if is_main_process():
            self.lock = _lock(Path(runner.work_dir))
            if hook and not (runner._resume and runner._load_from):
                found = [_choose(runner, hook.folder(runner))]
        broadcast_object_list(found)
        runner._load_from = found[0] or runner._load_from
        if hook and not runner._load_from:
            runner._resume = False  # mmengine would look again, and say that it found nothing

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta']['settings'] = _settings(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not (runner._resume and hasattr(runner._train_loop, 'dataloader')):
            return
        name, meta = runner._load_from, checkpoint.get('meta') or {}
        wanted = ['optimizer', 'message_hub', *(['param_schedulers'] if runner.param_schedulers is not None else [])]
        if missing := [key for key in wanted if key not in checkpoint] + [
            key for key in ('epoch', 'iter') if key not in meta
        ]:
            raise InputError(
                f'a training cannot go on from {name}, which has no {missing[0]} (best_*.pth and converted files have weights '
                f'alone): leave out --resume, and start from its weights with --cfg-options load_from={name}'
            )
        before, now = meta.get('settings'), _settings(runner)
        if before is None:
            runner.logger.warning(f'{name} does not say its settings: the learning rate is what the checkpoint has')
        elif changes := {
            key: (before.get(key), now.get(key)) for key in {**before, **now} if before.get(key) != now.get(key)
        }:
            _check_changes(runner, changes, checkpoint)
            scheduled = [key for key in changes if key.startswith(SCHEDULED)]
            lines = [
                f'  {key}: {old} -> {new}{", for the schedule from its start" if key in scheduled else ""}'
                for key, (old, new) in changes.items()
            ]
            runner.logger.warning(f'Settings that differ from those of {name}, and take effect:\n' + '\n'.join(lines))
            if scheduled:
                _reschedule(runner, checkpoint)
        length = len(runner.train_loop.dataloader)
        within = meta['iter'] != meta['epoch'] * length and not isinstance(runner.train_loop, IterBasedTrainLoop)
        if within and not isinstance(runner.train_loop, EpochLoop):
            raise InputError(f"{name} was saved within an epoch: go on with train_cfg.type='menet_mm.EpochLoop'")


def _lock(folder: Path) -> object:
    """Claim a work dir until this process ends; a child, such as a data loader's worker, does not inherit the claim."""
    file = (folder / '.training').open('a+')
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise InputError(
            f'another training (process {file.read().strip()}) writes to {folder}: wait for it, or give another --work-dir'
        ) from None
    except OSError:  # some network drives have no locks
        return None
    file.truncate(0)
    file.write(f'{os.getpid()}')
    file.flush()
    return file


def _choose(runner: Runner, folder: Path) -> str | None:
    """Return the checkpoint to resume from, or None for a training that may begin anew."""
    there = [path.name for path in list_checkpoints(folder)]
    if not runner._resume:
        if there:
            raise InputError(
                f'{folder} has {there[-1]} of an earlier training, which a new one would write over: go on from it with '
                '--resume, give another --work-dir, or remove that folder'
            )
        return None
    path, passed = newest_readable(folder)
    if path is None and passed:
        raise InputError(
            f'no checkpoint in {folder} can be read: {", ".join(passed)}; to begin anew, remove them and last_checkpoint'
        )
    if passed:
        runner.logger.warning(f'Passed over {", ".join(passed)}')
    runner.logger.info(f'Resuming from {path}' if path else f'{folder} has no checkpoint: the training begins anew')
    return str(path) if path else None


def _settings(runner: Runner) -> dict[str, str]:
    """What the training computes with, by dotted names."""
    cfg = runner.cfg.to_dict()
    found = dict(chain.from_iterable(_flatten(cfg[name], name) for name in SETTINGS if name in cfg))
    found['processes'] = str(get_world_size())
    found['iterations of an epoch'] = str(len(runner.train_loop.dataloader))
    return found


def _flatten(value: object, name: str) -> list[tuple[str, str]]:
    if isinstance(value, dict) and value:
        return [pair for key, item in value.items() if key != '_scope_' for pair in _flatten(item, f'{name}.{key}')]
    if isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        return [pair for index, item in enumerate(value) for pair in _flatten(item, f'{name}.{index}')]
    return [(name, str(value))]


def _check_changes(runner: Runner, changes: dict[str, tuple], checkpoint: dict) -> None:
    """Refuse what cannot take effect; what then differs in shape, such as another network, is refused elsewhere."""
    advice = 'give the old value, or leave out --resume and start from its weights with --cfg-options load_from=FILE'
    for key, what in (('optim_wrapper.optimizer.type', 'another optimizer'), ('randomness.seed', 'another seed')):
        old, new = changes.get(key, (None, None))
        if new not in (None, 'None') and str(checkpoint['meta'].get('seed') if 'seed' in key else old) != new:
            raise InputError(f'a training cannot go on with {what}: {key} is {new}, but was {old}; {advice}')
    groups = [len(group['params']) for group in checkpoint['optimizer'].get('param_groups', [])]
    if not isinstance(runner.optim_wrapper, OptimWrapper) or groups != [
        len(group['params']) for group in runner.optim_wrapper.param_groups
    ]:
        raise InputError(
            f'a training cannot go on with other groups of parameters: {", ".join(changes)} changed; {advice}'
        )
    meta = checkpoint['meta']
    if old := changes.get('iterations of an epoch', (None,))[0]:
        if meta['iter'] != meta['epoch'] * int(old):
            raise InputError(
                f'the checkpoint was saved within an epoch of {old} iterations, but the config makes epochs of '
                f'{len(runner.train_loop.dataloader)}: go on with the old data, batch and processes, or from epoch_*.pth'
            )
        meta['iter'] = meta['epoch'] * len(runner.train_loop.dataloader)


def _reschedule(runner: Runner, checkpoint: dict) -> None:
    """Step the schedules of this config to where the checkpoint is, and put them and the optimizer's settings into it."""
    schedulers = runner.param_schedulers or []
    if not isinstance(schedulers, list) or any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        raise InputError(
            'a schedule that depends on results cannot be computed anew: go on with the settings as they were'
        )
    length, done = len(runner.train_loop.dataloader), checkpoint['meta']['iter']
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # they expect a step of the optimizer between theirs
        for iteration in range(1, done + 1):
            ends = not isinstance(runner.train_loop, IterBasedTrainLoop) and iteration % length == 0
            for by_epoch in (False, True)[: 1 + ends]:
                for scheduler in schedulers:
                    if scheduler.by_epoch == by_epoch:
                        scheduler.step()
    for old, new in zip(checkpoint['optimizer']['param_groups'], runner.optim_wrapper.param_groups, strict=True):
        old.update({key: value for key, value in new.items() if key != 'params'})
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
