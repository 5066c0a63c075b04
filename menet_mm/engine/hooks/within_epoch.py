"""Saving within an epoch: every so many minutes, and when a signal asks the training to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from mmengine.dist import gather_object, get_rank, is_distributed, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner

from menet_mm.engine.hooks.checkpoint import CheckpointHook
from menet_mm.engine.loops import EpochLoop
from menet_mm.registry import HOOKS

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

_handled: set[int] = set()


def _end_children_by_signals() -> None:
    """Do as if there were no handlers in a child: its parent ends it by SIGTERM, and Ctrl-C is the parent's."""
    for number in _handled:
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)


# A signal that came in between would be lost.
os.register_at_fork(
    before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _handled),
    after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled),
    after_in_child=_end_children_by_signals,
)


@HOOKS.register_module()
class WithinEpochHook(Hook):
    """On SIGTERM, SIGINT (Ctrl-C) or SIGUSR1 finish the iteration, save and leave with status 128 + the signal's number.

    A second Ctrl-C leaves at once. All processes of a run leave after the same iteration. Needs :class:`CheckpointHook` and
    :class:`EpochLoop`; without them it leaves without saving.

    Args:
        minutes: save every so many minutes, too.
    """

    priority = 'LOWEST'

    def __init__(self, minutes: float | None = None) -> None:
        self.minutes = minutes
        self.signal = 0

    def before_train(self, runner: Runner) -> None:
        loop = isinstance(runner.train_loop, EpochLoop | IterBasedTrainLoop)
        self.hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and loop), None)
        self.saved_at = time.monotonic()
        # GPUs talk through NCCL, which would make them wait.
        self.group = torch.distributed.new_group(backend='gloo') if is_distributed() else None
        self.before = {}
        if threading.current_thread() is threading.main_thread():  # Python allows no other
            self.before = {number: signal.signal(number, self._note) for number in SIGNALS}
            _handled.update(SIGNALS)

    def _note(self, number: int, frame: object) -> None:
        self.signal = number
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Workers may get the signal as well; torch would raise an error within the iteration.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: dict | None = None
    ) -> None:
        due = self.minutes is not None and time.monotonic() - self.saved_at >= 60 * self.minutes
        wishes = torch.tensor([int(self.signal), int(due)])
        if self.group is not None:
            torch.distributed.all_reduce(wishes, op=torch.distributed.ReduceOp.MAX, group=self.group)
        number, due = wishes.tolist()
        if number:
            self._leave(runner, runner.iter + 1, number)
        if due and self.hook:
            self._save(runner, runner.iter + 1)

    def after_lost_worker(self, runner: Runner) -> None:
        """Called by :class:`EpochLoop` between two iterations."""
        if self.signal and self.group is None:
            self._leave(runner, runner.iter, self.signal)

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: object = None, outputs: object = None) -> None:
        if self.signal and self.hook and self.hook.last_ckpt == self.hook.path_of(runner.epoch):
            self._say(f'stopped by {signal.Signals(self.signal).name} in the validation after epoch {runner.epoch}')

    def after_train(self, runner: Runner) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        _handled.clear()

    def _save(self, runner: Runner, done: int) -> str:
        if self.group is not None:
            # Statistics of batch norm differ until the epoch ends.
            model = getattr(runner.model, 'module', runner.model)
            self.buffers = gather_object({name: buffer.cpu() for name, buffer in model.named_buffers()})
        name = self.hook.save_within(runner, done)
        self.buffers, self.saved_at = None, time.monotonic()
        return name

    buffers: list[dict] | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if self.buffers:
            checkpoint['buffers_of_ranks'] = self.buffers

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        buffers = checkpoint.get('buffers_of_ranks', ())
        if runner._resume and get_rank() < len(buffers):
            state = checkpoint['state_dict']
            state.update({name: value for name, value in buffers[get_rank()].items() if name in state})

    def _leave(self, runner: Runner, done: int, number: int) -> None:
        if self.hook:
            saved = f'saved as {Path(runner.work_dir, self._save(runner, done))}'
        else:
            saved = 'not saved: the epoch will be repeated'
        self.signal = number
        self._say(f'stopped by {signal.Signals(number).name} after iteration {done}, {saved}')

    def _say(self, what: str) -> None:
        if is_main_process():
            print(f'{what}; go on with the same command and --resume', file=sys.stderr)
        raise SystemExit(128 + self.signal)
