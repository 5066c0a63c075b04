"""Checkpoints survive kills, damage, moves and full disks; a training never begins over another one."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from menet_mm import InputError
from menet_mm.checkpoints.series import list_checkpoints, newest_readable
from menet_mm.engine.hooks.checkpoint import _unformatted

pytestmark = pytest.mark.slow  # whole command lines


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == '.pth')


def test_the_last_ones_the_best_one_and_a_name_that_can_be_moved(train, tmp_path):
    train()
    work = tmp_path / 'work'
    assert names(work) == ['best_acc_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert (work / 'last_checkpoint').read_text() == 'epoch_3.pth'


def test_a_best_one_that_is_not_beaten_stays(train, tmp_path):
    train(results=[1, 3, 2])
    assert names(tmp_path / 'work') == ['best_acc_epoch_2.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_old_ones_are_deleted_after_the_new_one_is_whole(train, tmp_path, monkeypatch):
    """While a file is written, all that was good is there."""
    seen, real = [], os.fsync
    monkeypatch.setattr('os.fsync', lambda file: (seen.append(names(tmp_path / 'work')), real(file)))
    train(epochs=4)
    whole = [[name for name in found if 'partial' not in name] for found in seen]
    for before, after in itertools.pairwise(whole):
        for kind, enough in (('epoch', 2), ('best', 1)):
            number = min(enough, sum(name.startswith(kind) for name in before))
            assert sum(name.startswith(kind) for name in after) >= number


def test_the_training_goes_on_in_a_copy_and_leaves_the_original_alone(train, tmp_path):
    train()
    shutil.copytree(tmp_path / 'work', tmp_path / 'copy')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'work').glob('*.pth')}
    train('copy', epochs=5, resume=True, results=[7, 8])
    assert names(tmp_path / 'copy') == ['best_acc_epoch_5.pth', 'epoch_4.pth', 'epoch_5.pth']
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'work').glob('*.pth')} == before


def truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


def flip(path):
    content = bytearray(path.read_bytes())
    at = content.index(torch.load(path, weights_only=False)['state_dict']['weight'].numpy().tobytes())
    for i in range(at, at + 200):
        content[i] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('damage', 'expected'),
    [(truncate, 'zip'), (lambda path: path.write_bytes(b''), 'empty'), (flip, 'damaged'), (Path.unlink, 'not there')],
    ids=['truncated', 'empty', 'flipped', 'removed'],
)
def test_the_newest_readable_one_is_taken(train, tmp_path, damage, expected):
    whole = train().model.weight
    damage(tmp_path / 'work/epoch_3.pth')
    path, passed = newest_readable(tmp_path / 'work')
    assert path == tmp_path / 'work/epoch_2.pth'
    assert len(passed) == 1
    assert passed[0].startswith('epoch_3.pth (')
    assert expected in passed[0]
    assert torch.equal(train(resume=True).model.weight, whole)


@pytest.mark.parametrize('note', [None, '', '/elsewhere/epoch_3.pth'])
def test_last_checkpoint_is_not_needed(train, tmp_path, note):
    train()
    (tmp_path / 'work/last_checkpoint').unlink()
    if note is not None:
        (tmp_path / 'work/last_checkpoint').write_text(note)
    assert newest_readable(tmp_path / 'work') == (tmp_path / 'work/epoch_3.pth', [])


def test_order_of_checkpoints(tmp_path):
    given = ['epoch_2.pth', 'epoch_10.pth', 'epoch_9_iter_70.pth', 'epoch_9.pth', 'best_acc_epoch_11.pth', 'x.pth']
    for name in given:
        (tmp_path / name).touch()
    found = [path.name for path in list_checkpoints(tmp_path)]
    assert found == ['epoch_2.pth', 'epoch_9.pth', 'epoch_9_iter_70.pth', 'epoch_10.pth']


def test_a_training_does_not_begin_over_another_one(train, tmp_path):
    train()
    before = {path: path.read_bytes() for path in (tmp_path / 'work').glob('*.pth')}
    with pytest.raises(InputError, match='has epoch_3.pth of an earlier training'):
        train()
    for path in before:
        path.write_bytes(b'')
    with pytest.raises(InputError, match=r'no checkpoint .* can be read: epoch_3.pth \(empty\), epoch_2.pth \(empty\)'):
        train(resume=True)


def test_resume_begins_where_there_is_nothing(train, tmp_path):
    train(resume=True)
    assert (tmp_path / 'work/epoch_3.pth').is_file()


def test_weights_alone_are_not_gone_on_from(train, tmp_path):
    train()
    best = tmp_path / 'work/best_acc_epoch_3.pth'
    with pytest.raises(InputError, match=f'no optimizer .* --cfg-options load_from={best}'):
        train('other', resume=True, load_from=str(best))
    assert train('third', load_from=str(best)).epoch == 3


def test_a_checkpoint_that_is_not_finite_is_refused(train, tmp_path):
    train()
    path = tmp_path / 'work/epoch_3.pth'
    content = torch.load(path, weights_only=False)
    content['state_dict']['weight'][3] = float('nan')
    torch.save(content, path)
    with pytest.raises(InputError, match='1 tensors of the checkpoint are not finite .*weight'):
        train(epochs=4, resume=True)


def test_a_full_disk_leaves_what_was_good(train, tmp_path, monkeypatch):
    train()
    work = tmp_path / 'work'
    before = {path: path.read_bytes() for path in work.glob('*') if path.is_file() and path.suffix in ('.pth', '')}

    def full(file):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(OSError, match='epoch_4.pth'):
        train(epochs=4, resume=True)
    monkeypatch.undo()
    del before[work / '.training']
    assert {path: path.read_bytes() for path in before} == before
    assert not list(work.glob('.*partial*'))


KILL = """
import os, signal

def kill(file, real=os.fsync, calls=[0]):
    calls[0] += 1
    if calls[0] == int(os.environ.get('KILL_AT', 0)):
        os.kill(os.getpid(), signal.SIGKILL)
    real(file)

os.fsync = kill
"""


@pytest.mark.parametrize('call', [3, 4, 5, 6], ids=['epoch 2', 'last_checkpoint', 'the best', 'epoch 2 again'])
def test_killed_while_a_checkpoint_is_written(command, small_classifier, state, differences, tmp_path, call):
    config = small_classifier(tmp_path / 'small.py', KILL)
    work = tmp_path / 'work'
    command('train.py', config, '--work-dir', work, status=-signal.SIGKILL, KILL_AT=call)
    assert list(work.glob('.*partial*'))
    (work / '.partial_empty').mkdir()  # as if killed before anything was written
    command('train.py', config, '--work-dir', work, '--resume')
    command('train.py', config, '--work-dir', tmp_path / 'whole')
    assert not differences(state(work / 'epoch_4.pth'), state(tmp_path / 'whole/epoch_4.pth'))
    assert names(work) == names(tmp_path / 'whole')
    assert not list(work.glob('.*partial*'))


def test_two_trainings_in_one_work_dir(command, small_classifier, tmp_path):
    config = small_classifier(tmp_path / 'small.py')
    first = command.start(
        'train.py', config, '--work-dir', tmp_path / 'work', '--cfg-options', 'train_cfg.max_epochs=99'
    )
    command.until(first, 'Epoch(train)')
    said = command('train.py', config, '--work-dir', tmp_path / 'work', '--resume', status=1)
    assert said.splitlines()[-1].startswith(f'error: another training (process {first[0]}) writes to')
    assert command.stop(first)[0] == -signal.SIGKILL
    command('train.py', config, '--work-dir', tmp_path / 'work', '--resume')


def in_namespace(script: str) -> subprocess.CompletedProcess:
    """Run a shell script that may mount file systems of its own."""
    if subprocess.run(['unshare', '-rm', 'true'], capture_output=True).returncode:
        (pytest.fail if os.environ.get('CI') == 'true' else pytest.skip)('needs a kernel with user namespaces')
    return subprocess.run(['unshare', '-rm', 'sh', '-ec', script], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('mount', 'expected'), [('size=3m', 'No space left on device'), ('ro', 'Read-only file system')]
)
def test_a_disk_that_is_full_or_read_only(small_classifier, tmp_path, mount, expected):
    """A small tmpfs: epochs of about 1 MB until there is no room; then what is there can be resumed from."""
    config, disk = small_classifier(tmp_path / 'small.py'), tmp_path / 'disk'
    disk.mkdir()
    tool = f'{sys.executable} {Path(__file__).resolve().parents[2]}/tools/train.py {config} --work-dir {disk}/work'
    more = '--cfg-options train_cfg.max_epochs=50 train_cfg.val_interval=50 default_hooks.checkpoint.max_keep_ckpts=50'
    done = in_namespace(
        f'mount -t tmpfs -o {mount} tmpfs {disk}\n{tool} {more} || echo status $?\nls -a {disk}/work || true\n'
        f'cp -r {disk}/work {tmp_path}/saved || true'
    )
    assert 'status 1' in done.stdout, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1, done.stderr
    assert expected in errors[0]
    assert 'Traceback' not in done.stderr
    assert 'partial' not in done.stdout
    if mount != 'ro':
        path, passed = newest_readable(tmp_path / 'saved')
        assert path is not None
        assert not passed


def test_the_config_in_a_checkpoint_is_not_formatted():
    """It would take longer than to write the file. Afterwards the config is as before."""
    cfg = Config(dict(names=['a name'] * 40))
    before, settings = cfg.pretty_text, cfg.to_dict()
    with _unformatted(cfg):
        plain = cfg.pretty_text
    assert plain != before
    assert (cfg.pretty_text, cfg.to_dict()) == (before, settings)
