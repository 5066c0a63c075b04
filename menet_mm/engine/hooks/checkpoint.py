"""Checkpoints that survive: mmengine's hook, but nothing that is good is touched before its successor is whole."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import Runner

from menet_mm.registry import HOOKS
from menet_mm.utils.storage import AtomicBackend


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's ``CheckpointHook``, with its arguments.

    Files are written by :class:`menet_mm.utils.storage.AtomicBackend`; the old last and best ones are deleted afterwards;
    ``last_checkpoint`` has a name in the work dir, so that the folder can be moved.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        if not self.backend_args and not self.file_client_args and '://' not in str(self.out_dir):
            self.backend_args = dict(backend='menet_mm')

    @property
    def local(self) -> bool:
        """Whether checkpoints are files that our backend writes."""
        return (self.backend_args or {}).get('backend') == 'menet_mm'

    def folder(self, runner: Runner) -> Path:
        """Where checkpoints are; before training, too."""
        if self.out_dir in (None, runner.work_dir):
            return Path(runner.work_dir)
        out, name = Path(self.out_dir), Path(runner.work_dir).name
        return out if hasattr(self, 'file_backend') else out / name

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        if not self.local:
            return
        if is_main_process():
            for folder in Path(self.out_dir).glob('.partial*'):  # of a training that was killed, maybe before it wrote
                names = [path.name for path in folder.iterdir()]
                if all(name == 'last_checkpoint' or name.endswith('.pth') for name in names):
                    shutil.rmtree(folder)
        # A folder that was moved or copied: the best ones are those in it.
        self._set_best({key: self._join(Path(path).name) for key, path in self._best().items()})

    def after_val_epoch(self, runner: Runner, metrics: dict) -> None:
        """Save the best one, and delete the one that was the best only then."""
        before = self._best()
        self._set_best(dict.fromkeys(before))  # mmengine deletes first
        super().after_val_epoch(runner, metrics)
        after = self._best()
        self._set_best({key: after.get(key) or path for key, path in before.items()})
        self._remove(path for key, path in before.items() if after.get(key) not in (None, path))

    def save_within(self, runner: Runner, done: int) -> str:
        """Save within an epoch, after ``done`` iterations of the whole training; returns the file's name."""
        if not self.by_epoch:
            self._save_checkpoint_with_step(runner, done, dict(epoch=runner.epoch, iter=done))
            return Path(self.last_ckpt).name
        name = f'epoch_{runner.epoch}_iter_{done}.pth'
        old = self._within_epochs()
        self._save(runner, name, dict(epoch=runner.epoch, iter=done))
        self._remove(path for path in old if Path(path).name != name)
        return name

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        old = self._within_epochs()
        if self.max_keep_ckpts > 0:
            steps = [kept for kept in self.keep_ckpt_ids if kept != step] + [step]
            old += [self.path_of(gone) for gone in steps[: -self.max_keep_ckpts]]
            self.keep_ckpt_ids = deque(steps[-self.max_keep_ckpts :], self.max_keep_ckpts)
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self._save(runner, self.filename_tmpl.format(step), meta)
        self._remove(old)

    def _save(self, runner: Runner, name: str, meta: dict) -> None:
        self.last_ckpt = self._join(name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with _unformatted(runner.cfg):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        if is_main_process():
            note = Path(runner.work_dir, 'last_checkpoint')
            AtomicBackend().put_text(name if Path(self.out_dir) == note.parent else self.last_ckpt, note)

    def _within_epochs(self) -> list[str]:
        return [str(path) for path in Path(self.out_dir).glob('epoch_*_iter_*.pth')] if self.local else []

    def path_of(self, step: int) -> str:
        """Where the checkpoint of a whole epoch is, or of an iteration in a training by iterations."""
        return self._join(self.filename_tmpl.format(step))

    def _join(self, name: str) -> str:
        return self.file_backend.join_path(self.out_dir, name)

    def _remove(self, paths: object) -> None:
        for path in paths if is_main_process() else ():
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)

    def _best(self) -> dict[str | None, str]:
        """The best checkpoints by metric, as far as there are some; mmengine keeps that of a single one by itself."""
        if not self.save_best:
            return {}
        found = {None: self.best_ckpt_path} if len(self.key_indicators) == 1 else self.best_ckpt_path_dict
        return {key: path for key, path in found.items() if path}

    def _set_best(self, paths: dict[str | None, str | None]) -> None:
        for key, path in paths.items():
            if key is None:
                self.best_ckpt_path = path
            else:
                self.best_ckpt_path_dict[key] = path


@contextmanager
def _unformatted(cfg: Config) -> Iterator[None]:
    """mmengine writes the config's text into each checkpoint, and would format it each time, longer than it writes."""
    before = cfg._format_python_code
    object.__setattr__(cfg, '_format_python_code', False)  # Config's own __setattr__ would make it a setting
    try:
        yield
    finally:
        object.__setattr__(cfg, '_format_python_code', before)
