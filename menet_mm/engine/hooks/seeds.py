"""Randomness as a function of seed and place, so that a training that is resumed draws what it would have drawn."""

from __future__ import annotations

from mmengine.dist import broadcast_object_list
from mmengine.hooks import DistSamplerSeedHook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import IterableDataset

from menet_mm.datasets.draws import Draws, seed_generators
from menet_mm.registry import HOOKS


@HOOKS.register_module()
class SeedHook(DistSamplerSeedHook):
    """mmengine's ``DistSamplerSeedHook``; besides, seeds the sampler, each picture, each epoch and each iteration.

    Pictures: by the seed, the epoch and the index, whatever the number of workers and processes (:class:`Draws`). What the
    model draws: by the seed and the iteration. A training that is resumed has the seed of its checkpoint. In a training by
    iterations pictures stay seeded by their worker.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        loader = runner.train_loop.dataloader
        seeds = [runner.seed]
        broadcast_object_list(seeds)  # with diff_rank_seed they differ
        self.draws = None
        sampler = loader.sampler if hasattr(loader.sampler, 'seed') else getattr(loader.batch_sampler, 'sampler', None)
        if (
            hasattr(sampler, 'seed')
            and (runner.cfg.get('train_dataloader') or {}).get('sampler', {}).get('seed') is None
        ):
            sampler.seed = seeds[0]
        by_iterations = isinstance(runner.train_loop, IterBasedTrainLoop)
        if (
            hasattr(loader.dataset, '__dict__')
            and not by_iterations
            and not isinstance(loader.dataset, IterableDataset)
        ):
            self.draws = loader.dataset.__getitems__ = Draws(loader.dataset, loader.num_workers)
            self.draws.seed = seeds[0]

    def before_train_epoch(self, runner: Runner) -> None:
        super().before_train_epoch(runner)
        seed_generators(runner.seed, runner.epoch, 0, 2)
        if self.draws:
            self.draws.epoch.fill_(runner.epoch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: object = None) -> None:
        seed_generators(runner.seed, runner.iter, 0, 3)
