"""What a person sees of a training or a test, and what is in the log file."""

import logging
import re
from types import SimpleNamespace

import pytest
from mmengine.hooks import LoggerHook

from menet_mm.engine import terminal

#: What is in the log file, and in the terminal with --verbose alone.
DUMPS = ('System environment', 'Hooks will be executed', 'max_epochs', 'data_time', 'Epoch(train) [2][2/4]')


@pytest.fixture
def shown(monkeypatch):
    """Which of some lines, a dict of texts by the second they come at, are shown of a training of two epochs."""

    def show(lines, interval=50):
        runner = SimpleNamespace(hooks=[LoggerHook(interval=interval)], epoch=0, max_epochs=2)
        screen = terminal.Screen(runner)
        found = []
        for second, text in lines.items():
            monkeypatch.setattr(terminal.time, 'monotonic', lambda second=second: 1000 + second)
            runner.epoch = int(text.partition('[')[2][0]) - 1
            if screen.filter(logging.makeLogRecord(dict(msg=text, levelno=logging.INFO))):
                found.append(second)
        return found

    return show


def test_a_line_an_epoch_or_a_minute(shown):
    """The last line of an epoch is the last that mmengine logs, with batches left or not."""
    lines = {10 * i: f'Epoch(train)  [1][{50 * i:3}/330]  lr: 1.0  eta: 0:01:00' for i in range(1, 7)}
    assert shown(lines) == [10, 60]
    slow = {30 * i: f'Epoch(train)  [1][{50 * i:3}/330]  lr: 1.0  eta: 0:01:00' for i in range(1, 7)}
    assert shown(slow) == [30, 90, 150, 180]
    quick = {0: 'Epoch(train)  [1][50/50]  eta: 0:00:01', 1: 'Epoch(train)  [1][50/50]  eta: 0:00:01'}
    assert shown({**quick, 2: 'Epoch(train)  [2][50/50]  eta: 0:00:01'}) == [0, 2]  # the end is always there


def test_progress_of_a_validation_is_shown_if_it_takes_long(shown):
    lines = {10 * i: f'Epoch(val)  [1][{50 * i:3}/600]    eta: 0:01:00' for i in range(1, 12)}
    assert shown({**lines, 115: 'Epoch(val) [1][600/600]    accuracy/top1: 12.0000'}) == [10, 70, 115]


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['detector', 'classifier'])
def test_a_training_and_a_test(command, request, tmp_path, kind):
    config = request.getfixturevalue(f'small_{kind}')(tmp_path / 'small.py')
    metric = dict(detector='pascal_voc/mAP', classifier='accuracy/top1')[kind]
    work = tmp_path / 'work'
    said = command('train.py', config, '--work-dir', work)
    lines = said.splitlines()
    assert len(lines) <= 40, said
    for wanted in ('Training small: ', 'MENet', 'CPU', '4 epochs of 4 iterations of 3 pictures', 'train: 12 pictures'):
        assert any(wanted in line for line in lines[:12]), said
    assert re.search(r'Epoch\(train\) +\[4\]\[4/4\] +(base_)?lr: .*eta: .*loss: ', said)
    assert said.count(f'{metric}: ') == 2
    assert said.count('| mAP ') == (kind == 'detector')  # the last validation's
    log = next(work.glob('*/*.log'))
    assert f'Full log: {log}' in said
    assert [text for text in DUMPS if text not in log.read_text()] == []
    assert [text for text in DUMPS if text in said] == []

    test = ('test.py', config, work / 'epoch_4.pth', '--work-dir', tmp_path / 'test')
    said = command(*test)
    assert len(said.splitlines()) <= 20, said
    assert f'{metric}: ' in said
    assert said.count('| mAP ') == (kind == 'detector')
    assert len(command(*test, '--verbose').splitlines()) > 300


@pytest.mark.slow
def test_two_processes_and_a_resumed_training(command, small_detector, tmp_path):
    """The first process alone says something; warnings are shown; --verbose shows all."""
    config, words = small_detector(tmp_path / 'small.py'), ('--work-dir', tmp_path / 'work')
    one = ('train.py', config, *words, '--cfg-options', 'train_cfg.max_epochs=2')
    first, second = command.start_ranks(*one)
    assert [command.wait(first), command.wait(second)] == [0, 0]
    said = first[1].read_text()
    assert '2 processes: 2 epochs of 2 iterations of 6 pictures' in said
    assert 'WARNING' in said  # of the warm-up that is longer than the training
    assert 'Epoch' not in second[1].read_text()
    said = command('train.py', config, *words, '--resume', '--verbose')
    assert f'Resuming from {tmp_path}/work/epoch_2.pth' in said
    assert [text for text in (*DUMPS[:-1], 'Epoch(train) [3][2/4]') if text not in said] == []
