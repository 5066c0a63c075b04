"""A training loop that can start within an epoch."""

from __future__ import annotations

import re

from mmengine.runner import EpochBasedTrainLoop
from torch import nn
from torch.utils.data import DataLoader

from menet_mm.datasets.draws import Draws
from menet_mm.errors import InputError
from menet_mm.registry import LOOPS


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's ``EpochBasedTrainLoop``, which after a stop goes on with the batch, or the validation, that came next.

    Raises:
        InputError: if a worker of the data loader is killed, with the picture that it was loading.
    """

    @property
    def begun(self) -> int:
        """How many iterations of an epoch are done when it starts."""
        return self._iter - self._epoch * len(self.dataloader)

    def run(self) -> nn.Module:
        """Train; a validation that was due when the checkpoint was saved comes first."""
        self.runner.call_hook('before_train')
        self._validate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Iterate over what is left of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        try:
            for idx, data_batch in enumerate(self._rest(), self.begun):
                self.run_iter(idx, data_batch)
        except RuntimeError as error:
            if killed := re.match(r'DataLoader worker \(pid(?:\(s\))? (\d+)', str(error)):
                self.runner.call_hook('after_lost_worker')
                draws = getattr(self.dataloader.dataset, '__getitems__', None)
                item = isinstance(draws, Draws) and draws.of_process(int(killed[1]))
                raise InputError(
                    f'a worker of the data loader was killed while it loaded {item or "an item"}: look at that, '
                    'or, if memory ran out, set train_dataloader.num_workers or batch_size to less'
                ) from error
            raise
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _rest(self) -> DataLoader:
        """The batches of this epoch that are not done; others are not loaded."""
        full = self.dataloader
        if not self.begun:
            return full
        same = ('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'worker_init_fn', 'multiprocessing_context')
        same += ('prefetch_factor',)
        rest = list(full.batch_sampler)[self.begun :]
        return DataLoader(full.dataset, batch_sampler=rest, **{name: getattr(full, name) for name in same})

    def _validate_if_due(self) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        hub = self.runner.message_hub
        if self.runner.val_loop is None or self._epoch < max(1, self.val_begin) or not due or self.begun:
            return
        if (
            hub.get_info('last_validation') != self._iter
        ):  # the checkpoint of this epoch is saved before and, if best, after
            hub.update_info('last_validation', self._iter)
            self.runner.val_loop.run()
