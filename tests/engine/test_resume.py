"""A training that is stopped and resumed ends as one that was not, bit for bit."""

import os
import random
import signal
import time

import pytest

pytestmark = pytest.mark.slow  # whole command lines

WORKERS = 'train_dataloader.update(num_workers=2, persistent_workers={})'
AVERAGED = "custom_hooks = [dict(type='EMAHook', momentum=0.1)]  # the usual way, which replaces the base's"
#: A config, its lines, and the number of processes.
TRAININGS = {
    'SSD': ('detector', '', 1),
    'SSD, persistent workers': ('detector', WORKERS.format(True), 1),
    'classifier, workers': ('classifier', WORKERS.format(False), 1),
    'SSD, averaged weights': ('detector', AVERAGED, 1),
    'SSD, two processes': ('detector', 'train_dataloader.update(batch_size=2)', 2),
}
KILLS = 20


@pytest.fixture(scope='session', params=TRAININGS)
def training(request, command, small_detector, small_classifier, tmp_path_factory):
    """A config, a function that starts a training of it, and the work dir of one that was not stopped."""
    kind, more, processes = TRAININGS[request.param]
    folder = tmp_path_factory.mktemp('training')
    config = dict(detector=small_detector, classifier=small_classifier)[kind](folder / 'small.py', more)

    def start(work_dir, *words):
        words = ('train.py', config, '--work-dir', work_dir, '--verbose', *words)
        return command.start_ranks(*words) if processes == 2 else [command.start(*words)]

    finish(command, start(folder / 'whole'))
    return start, folder / 'whole'


def finish(command, started, status=0):
    ended = [command.ask(pid) for pid, _ in started]
    said = started[0][1].read_text()
    assert ended == [status] * len(started), said + started[-1][1].read_text()
    return said


def test_stopped_within_an_epoch(command, training, state, differences, tmp_path):
    """With averaged weights, buffers of two processes, and workers that live on."""
    start, whole = training
    started = start(tmp_path / 'work')
    command.until(started[0], 'Epoch(train) [2][1/')
    for pid, _ in started:
        os.kill(pid, signal.SIGTERM)
    said = finish(command, started, 128 + signal.SIGTERM)
    assert 'go on with the same command and --resume' in said.splitlines()[-1]
    (saved,) = (tmp_path / 'work').glob('epoch_1_iter_*.pth')
    assert saved.name == (tmp_path / 'work/last_checkpoint').read_text()
    said = finish(command, start(tmp_path / 'work', '--resume'))
    assert f'Resuming from {saved}' in said
    assert not saved.exists()
    assert not differences(state(tmp_path / 'work/epoch_4.pth'), state(whole / 'epoch_4.pth'))
    assert {path.name for path in whole.glob('*.pth')} == {path.name for path in (tmp_path / 'work').glob('*.pth')}


def test_killed_at_random(command, training, state, differences, tmp_path):
    """Forty epochs of a few iterations, saved every fifth of a second, too, and twenty kills."""
    start, _ = training
    rng, work = random.Random(0), tmp_path / 'work'
    words = ('--checkpoint-minutes', 0.003, '--cfg-options', 'train_cfg.max_epochs=40', 'train_cfg.val_interval=7')
    finish(command, start(tmp_path / 'whole', *words))
    killed = 0
    for _ in range(KILLS):
        started = start(work, '--resume', *words)
        command.until(started[0], 'Epoch(train) [', or_ended=True)
        time.sleep(rng.uniform(0, 0.25))
        for pid, _ in started:
            os.kill(pid, signal.SIGKILL)
        killed += all([command.ask(pid) == -signal.SIGKILL for pid, _ in started])
    assert killed > KILLS / 2  # the others had ended by then
    finish(command, start(work, '--resume', *words))
    assert not differences(state(work / 'epoch_40.pth'), state(tmp_path / 'whole/epoch_40.pth'))
    assert not list(work.glob('.*partial*'))
