"""Stopping before the first iteration if data, config and checkpoint do not belong together."""

from collections.abc import Sequence
from itertools import chain
from logging import INFO, WARNING

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import PretrainedInit, is_model_wrapper
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from menet_mm.checkpoints import check_fit, compare
from menet_mm.datasets.doctor.identity import check_recorded
from menet_mm.datasets.doctor.repeats import check_repeats
from menet_mm.datasets.doctor.start import check_images
from menet_mm.datasets.doctor.summary import log_summary
from menet_mm.errors import InputError
from menet_mm.registry import HOOKS

#: With anchors of their own size, 6 % of VOC's boxes are reached by none, and with anchors for another size half of them.
MANY = 0.2


@HOOKS.register_module()
class InputCheckHook(Hook):
    """Check that every picture can be decoded, that data and model have as many classes, and that weights fit the model.

    Of weights, those of ``init_cfg`` and checkpoints, mmengine only logs a warning, and goes on with random ones. InputError says
    what to change. A warning tells of a schedule, such as a warm-up, that is longer than the training.
    """

    def before_run(self, runner: Runner) -> None:
        """Check all loops that have been built, and what training starts from."""
        loops = (runner._train_loop, runner._val_loop, runner._test_loop)
        built = [loop for loop in loops if hasattr(loop, 'dataloader')]  # the others are configs still
        if runner._train_loop in built:
            _check_pretrained(runner.model)
            _check_schedule(runner)
        if is_main_process():
            splits = zip(('train', 'val', 'test'), loops, strict=True)
            check_repeats({split: loop.dataloader.dataset for split, loop in splits if loop in built})
        for split, loop in zip(('train', 'val', 'test'), loops, strict=True):
            if loop not in built:
                continue
            dataset = loop.dataloader.dataset
            _check_classes(runner.model, dataset)
            if is_main_process():
                log_summary(dataset, split)
                _log_reach(runner.model, dataset, split)
            # If there are none, the check has said why.
            if is_main_process() and (number := check_images(dataset)):
                found = 'no defect found' if number == len(dataset) else 'no defect found in these'
                runner.logger.info(f'Decoded {number} images of {len(dataset)}: {found}')

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Check that a checkpoint has exactly the model's tensors; training from ``load_from`` may take a part, not nothing.

        The classes that it was trained on must be those of the data, in their order; a training may begin with other ones.
        """
        training = hasattr(runner._train_loop, 'dataloader')
        loops = [getattr(runner, f'_{name}_loop', None) for name in ('train', 'val', 'test')]
        datasets = [getattr(loop.dataloader, 'dataset', None) for loop in loops if hasattr(loop, 'dataloader')]
        classes = getattr(datasets[0], 'metainfo', {}).get('classes') if datasets else None
        recorded = checkpoint.get('meta', {}).get('dataset_meta') or {}
        check_recorded(recorded.get('classes'), classes, strict=not training or runner._resume)
        if training and not runner._resume:
            missing, _, differing = compare(runner.model, checkpoint)
            if len(missing) + len(differing) < len(runner.model.state_dict()):
                return
        check_fit(runner.model, checkpoint)


def _log_reach(model: nn.Module, dataset: object, split: str) -> None:
    """Say how many boxes no anchor of an SSD finds: another size of pictures than the anchors were made for, small objects."""
    model = model.module if is_model_wrapper(model) else model
    if split != 'train' or not hasattr(getattr(model, 'bbox_head', None), 'prior_generator'):
        return
    from menet_mm.datasets.anchors import REACH, missed_now

    if found := missed_now(model, dataset):
        number, share = found
        text = f'Of {number} boxes, no anchor overlaps {share:.1%} by an IoU of {REACH}'
        advice = ': fit the anchors with tools/fit_anchors.py' if share > MANY else ''
        print_log(f'{text}{advice}', 'current', WARNING if advice else INFO)


def _check_pretrained(model: nn.Module) -> None:
    """Check the files of ``init_cfg``; a part may be missing, such as a plugin layer."""
    for name, module in model.named_modules():
        given = getattr(module, 'init_cfg', None) or ()
        for init_cfg in [given] if isinstance(given, dict) else given:
            if init_cfg.get('type') not in ('Pretrained', PretrainedInit):
                continue
            path, prefix = init_cfg['checkpoint'], init_cfg.get('prefix') or ''
            prefix += '.' if prefix and not prefix.endswith('.') else ''  # as mmengine does
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


def _check_schedule(runner: Runner) -> None:
    """Warn of a learning rate that is still on its way when the training ends, such as after few pictures."""
    schedulers = runner.param_schedulers or []
    for number, scheduler in enumerate(schedulers if isinstance(schedulers, list) else chain(*schedulers.values())):
        length, unit = (runner.max_epochs, 'epochs') if scheduler.by_epoch else (runner.max_iters, 'iterations')
        if length < scheduler.end < INF and is_main_process():
            runner.logger.warning(
                f'{type(scheduler).__name__} takes {scheduler.end} {unit}, but the training has {length}: the learning rate '
                f'does not reach what the config says; set param_scheduler.{number}.end to less, or train longer'
            )


def _check_classes(model: nn.Module, dataset: object) -> None:
    """Check that the model's parts have as many classes as the data; only data sets of mmengine tell theirs."""
    classes = getattr(dataset, 'metainfo', {}).get('classes')
    if classes is None:
        return
    if isinstance(classes, str) or not isinstance(classes, Sequence):
        raise InputError(f"metainfo.classes must be a tuple of names, such as ('{classes}',), but is {classes!r}")
    exported = getattr(getattr(model, 'runner', None), 'classes', None)
    check_recorded(exported, classes, strict=True)
    for name, module in model.named_modules():
        # An RPN separates objects from background, whatever the classes.
        number = getattr(module, 'num_classes', None)
        if number is not None and not name.endswith('rpn_head') and number != len(classes):
            more = ', ...' if len(classes) > 5 else ''
            raise InputError(
                f'the data set has {len(classes)} classes ({", ".join(map(str, classes[:5]))}{more}) but '
                f'model.{name}.num_classes is {number}: make both agree in the config'
            )
