"""Stopping before the first iteration if data, config and checkpoint do not belong together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import PretrainedInit
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from menet_mm.checkpoints import check_fit, compare
from menet_mm.datasets.doctor import check_images
from menet_mm.errors import InputError
from menet_mm.registry import HOOKS


@HOOKS.register_module()
class InputCheckHook(Hook):
    """Stop before the first iteration if data, config and checkpoint do not belong together.

    Checks that every picture can be decoded, that the classes of the data match ``num_classes`` of the model, that weights
    of ``init_cfg`` are of the module that takes them, and that a checkpoint to be tested or resumed fits the model; mmengine
    only logs a warning for the last two and goes on with random weights. Warns of a schedule, such as a warm-up, that is longer
    than the training.

    Raises:
        InputError: with one sentence on what to change.
    """

    def before_run(self, runner: Runner) -> None:
        """Check data against model, in every loop that has been built, and weights that training starts from."""
        if hasattr(runner._train_loop, 'dataloader'):
            self._check_pretrained(runner.model)
            self._check_schedule(runner)
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        for loop in loops:
            if not hasattr(loop, 'dataloader'):
                continue  # still a config, since this run does not use it
            dataset = loop.dataloader.dataset
            self._check_classes(runner, dataset)
            if is_main_process():
                runner.logger.info(f'Decoded {check_images(dataset)} images of {len(dataset)}: no defect found')

    def _check_pretrained(self, model: nn.Module) -> None:
        """Check the files of ``init_cfg=dict(type='Pretrained', ...)``, alone or in a list.

        A part may be missing, such as a plugin layer.
        """
        for name, module, init_cfg in _pretrained(model):
            path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix') or ''
            if prefix and not prefix.endswith('.'):
                prefix += '.'  # as mmengine does
            checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
            state = checkpoint.get('state_dict', checkpoint)
            part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            missing, _, differing = compare(module, part)
            if len(missing) == len(module.state_dict()):
                raise InputError(
                    f'{path} has no weights of model.{name} under the prefix {prefix!r}; its first names are '
                    f'{", ".join(list(state)[:3])}: convert it with tools/convert_checkpoint.py, or correct init_cfg.prefix'
                )
            if differing:
                raise InputError(
                    f'{path} is of another network than model.{name}: {len(differing)} tensors differ in shape '
                    f'({differing[0]}); give weights of the same arch'
                )

    def _check_schedule(self, runner: Runner) -> None:
        """Warn of a learning rate that is still on its way when the training ends, such as after few pictures."""
        schedulers = runner.param_schedulers or []
        for scheduler in schedulers if isinstance(schedulers, list) else chain(*schedulers.values()):
            length, unit = (runner.max_epochs, 'epochs') if scheduler.by_epoch else (runner.max_iters, 'iterations')
            if length < scheduler.end < INF and is_main_process():
                runner.logger.warning(
                    f'{type(scheduler).__name__} takes {scheduler.end} {unit}, but the training has {length}: the learning '
                    'rate does not reach what the config says; shorten it by param_scheduler.<number>.end, or train longer'
                )

    def _check_classes(self, runner: Runner, dataset: BaseDataset) -> None:
        """Check that the model's parts have as many classes as the data."""
        classes = dataset.metainfo.get('classes')
        if classes is None:
            return
        if isinstance(classes, str) or not isinstance(classes, Sequence):
            raise InputError(f"metainfo.classes must be a tuple of names, such as ('{classes}',), but is {classes!r}")
        for name, module in runner.model.named_modules():
            # An RPN separates objects from background, whatever the classes.
            number = getattr(module, 'num_classes', None)
            if number is not None and not name.endswith('rpn_head') and number != len(classes):
                raise InputError(
                    f'the data set has {len(classes)} classes ({", ".join(map(str, classes[:5]))}'
                    f'{", ..." if len(classes) > 5 else ""}) but model.{name}.num_classes is {number}: '
                    'make both agree in the config'
                )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check that a checkpoint to be tested or resumed has exactly the model's tensors.

        Training that starts from ``load_from`` may take only a part, such as the backbone of a detector of other classes,
        but not nothing.
        """
        training = hasattr(runner._train_loop, 'dataloader') and not runner._resume
        if training:
            missing, _, differing = compare(runner.model, checkpoint)
            if len(missing) + len(differing) < len(runner.model.state_dict()):
                return
        check_fit(runner.model, checkpoint)


def _pretrained(model: nn.Module) -> Iterator[tuple[str, nn.Module, dict]]:
    """Yield name, module and config of each initialization from a file."""
    for name, module in model.named_modules():
        given = getattr(module, 'init_cfg', None) or ()
        for init_cfg in [given] if isinstance(given, dict) else given:
            if init_cfg.get('type') in ('Pretrained', PretrainedInit):
                yield name, module, init_cfg
