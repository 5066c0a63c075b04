"""What a terminal shows of a training or a test: about a screen. The log file in the work dir has all that mmengine says."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import LoggerHook
from mmengine.logging import MMLogger
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner

#: How messages begin that are for the log file alone: dumps, and what other lines say, too.
FILE_ALONE = (
    '\n---',
    'Checkpoints will be saved to',
    'Config:\n',
    'Distributed training is not used',
    'Evaluating ',
    'Exp name:',
    'Hooks will be executed',
    'Load checkpoint from',
    'Saving checkpoint at',
    'paramwise_options',
)
#: Also of warnings: weights that are frozen on purpose get no settings of their own.
FROZEN = 'is skipped since its requires_grad=False'
LINE = re.compile(r'(Epoch|Iter)\((train|val|test)\)')
PLACE = re.compile(r'\[ *(\d+)/(\d+)\]')
#: What a line of figures has besides loss, learning rate, time left and metrics.
DETAILS = re.compile(r'  +((\w+\.)*loss_\w+|data_time|grad_norm|memory|time): \S+')
#: Seconds between two lines of an epoch, and between those at the ends of two epochs.
WITHIN, ENDS = 60, 3


class QuietRunner(Runner):
    """mmengine's ``Runner``, of whose log the terminal shows what :class:`Screen` lets through; the log file has all."""

    def build_logger(self, *args: object, **kwargs: object) -> MMLogger:
        """Build mmengine's logger, and set what it writes to the terminal."""
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:  # a file's handler is a subclass
                handler.addFilter(Screen(self))
                handler.setFormatter(ShortLines(handler.formatter))
        return logger


class Screen(logging.Filter):
    """Let through warnings, errors and what is new to a person: a line an epoch or a minute, and the table of the last validation."""

    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner
        self.shown = -float('inf')

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.levelno > logging.INFO:
            return FROZEN not in text
        if text.startswith(FILE_ALONE):
            return False
        if text.startswith('\n'):  # a table, such as AP by class
            return self._ends()
        line = LINE.match(text)
        if not line or (line[2] != 'train' and 'eta: ' not in text):
            return True
        return self._is_due(text, line[2] == 'train')

    def _is_due(self, text: str, training: bool) -> bool:
        """Whether a line of figures comes long enough after the one before, or ends the training."""
        (done, length), *_ = PLACE.findall(text)
        interval = next((hook.interval for hook in self.runner.hooks if isinstance(hook, LoggerHook)), 1)
        last = training and int(done) + interval > int(length)  # mmengine leaves out what is left of an epoch
        final = last and self.runner.epoch + 1 >= self.runner.max_epochs
        now = time.monotonic()
        if not final and now - self.shown < (ENDS if last else WITHIN):
            return False
        self.shown = now
        return True

    def _ends(self) -> bool:
        """Whether all epochs are done, or there are none."""
        runner = self.runner
        if not isinstance(runner._train_loop, BaseLoop):
            return True
        return runner.epoch >= runner.max_epochs or runner.iter >= runner.max_iters


class ShortLines(logging.Formatter):
    """Messages with the time of day alone, and figures without those that are for the log file; warnings as ``full`` has them."""

    def __init__(self, full: logging.Formatter) -> None:
        super().__init__('%(asctime)s  %(message)s', '%H:%M:%S')
        self.full = full

    def format(self, record: logging.LogRecord) -> str:
        if record.levelno > logging.INFO:
            return self.full.format(record)
        text = record.getMessage()
        if text.startswith('\n'):
            return text[1:]
        line = super().format(record)
        return DETAILS.sub('', line) if LINE.match(text) else line


def announce(runner: Runner, doing: str) -> None:
    """Log what is about to run (``doing``, such as 'Training'), on which device, for how long, and where the log file is.

    For a training, its data loader is built.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parts = [type(model).__name__]
    if hasattr(model, 'backbone'):
        arch = runner.cfg.model.get('backbone', {}).get('arch')
        parts.append(f'{type(model.backbone).__name__}{f" {arch}" if isinstance(arch, str) else ""}')
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    parts += [f'{millions:.2f} million parameters'] if millions else []
    runner.logger.info(f'{doing} {Path(runner.cfg.filename).stem}: {", ".join(parts)}')
    runner.logger.info(f'On {_device(model)}{_length(runner) if doing == "Training" else ""}')
    log = Path(runner.logger.log_file)
    runner.logger.info(f'Full log: {log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log}')


def _device(model: torch.nn.Module) -> str:
    first = next(model.parameters(), torch.empty(0))
    threads = torch.get_num_threads()
    name = (
        torch.cuda.get_device_name(first.device)
        if first.is_cuda
        else f'the CPU with {threads} thread{"s" * (threads > 1)}'
    )
    number = get_world_size()
    return name if number == 1 else f'{name}, {number} processes'


def _length(runner: Runner) -> str:
    loader = runner.train_dataloader
    batch = getattr(loader, 'batch_size', None) or getattr(getattr(loader, 'batch_sampler', None), 'batch_size', None)
    pictures = f' of {batch * get_world_size()} pictures' if batch else ''
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return f': {runner.max_iters} iterations{pictures}'
    return f': {runner.max_epochs} epochs of {len(loader)} iterations{pictures}'
