"""The processes of one run start together and end together, with one sentence; small scripts stand in for a training."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLEEP = 'import time\ntime.sleep(60)\n'


@pytest.fixture
def ranks(tmp_path):
    """Start a script in two processes, which print their ids; returns the launcher and the ids."""
    started = []

    def start(script, number=2, first='', **env):
        path = tmp_path / 'script.py'
        path.write_text(
            f'import os, sys\n{first}\nrank = int(os.environ["RANK"])\nos.write(1, f"{{rank}} {{os.getpid()}}\\n".encode())\n{script}'
        )
        launcher = subprocess.Popen(
            [sys.executable, '-m', 'menet_mm.engine.ranks', str(number), path],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        started.append(launcher)
        lines = sorted(launcher.stdout.readline().split() for _ in range(number))
        return launcher, [int(pid) for _, pid in lines]

    yield start
    for launcher in started:
        launcher.kill()
        launcher.communicate()


def is_gone(pid):
    deadline = time.monotonic() + 10
    while Path(f'/proc/{pid}').exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not Path(f'/proc/{pid}').exists()


@pytest.mark.parametrize('dead', [0, 1])
def test_a_dead_process_ends_all(ranks, dead):
    launcher, pids = ranks(SLEEP)
    os.kill(pids[dead], signal.SIGKILL)
    said = launcher.communicate(timeout=30)[1]
    assert said.startswith(f'error: process {dead} of 2 was killed by SIGKILL, and the others were ended')
    assert len(said.splitlines()) == 1
    assert launcher.returncode == 128 + signal.SIGKILL
    assert all(map(is_gone, pids))


def test_a_dead_launcher_leaves_no_orphans(ranks):
    launcher, pids = ranks(SLEEP)
    launcher.kill()
    launcher.wait()
    assert all(map(is_gone, pids))


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_signals_go_on_to_all_and_the_status_comes_back(ranks, number):
    launcher, _ = ranks(
        SLEEP, first=f'import signal\nsignal.signal({int(number)}, lambda *_: sys.exit({128 + number}))'
    )
    launcher.send_signal(number)
    assert launcher.communicate(timeout=30)[1] == ''
    assert launcher.returncode == 128 + number


@pytest.mark.parametrize(
    ('script', 'status', 'expected'),
    [
        ('sys.exit("error: no such config")', 1, 'error: no such config\n'),
        ('sys.exit("error: only here") if rank else sys.exit(75)', 1, 'error: only here\n'),
        ('sys.exit(3) if rank else sys.exit(75)', 3, ''),
        ('print(rank * "of rank one", file=sys.stderr, end=chr(10) * rank)', 0, 'of rank one\n'),
    ],
    ids=['of all', 'of one, which the other lost', 'status', 'none'],
)
def test_a_mistake_is_said_once(ranks, script, status, expected):
    launcher, _ = ranks(script)
    said = launcher.communicate(timeout=30)[1]
    assert (launcher.returncode, said) == (status, expected)


def test_runs_that_start_together_have_ports_of_their_own(ranks):
    names = ('WORLD_SIZE', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'OMP_NUM_THREADS', 'MASTER_PORT')
    script = f'print(*(os.environ[name] for name in {names}), file=sys.stderr)\n'
    ports = set()
    for launcher, _ in [ranks(script, OMP_NUM_THREADS='1') for _ in range(3)]:
        first, second = sorted(launcher.communicate(timeout=30)[1].splitlines())
        assert first.split()[:-1] == ['2', '0', '2', '127.0.0.1', '1']
        assert second.split()[:-1] == ['2', '1', '2', '127.0.0.1', '1']
        assert first.split()[-1] == second.split()[-1]
        ports.add(first.split()[-1])
    assert len(ports) == 3


@pytest.mark.parametrize(('nodes', 'text'), [('1', 'lost each other'), ('2', 'on another machine')])
def test_a_lost_connection_says_where(ranks, nodes, text):
    launcher, _ = ranks('sys.exit(75)', NNODES=nodes, PORT='1234')
    said = launcher.communicate(timeout=30)[1]
    assert launcher.returncode == 75
    assert text in said


def test_several_machines(ranks):
    names = ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')
    script = f'print(*(os.environ[name] for name in {names}), file=sys.stderr)\n'
    launcher, _ = ranks(script, NNODES='3', NODE_RANK='2', MASTER_ADDR='10.0.0.1', PORT='1234')
    assert sorted(launcher.communicate(timeout=30)[1].splitlines()) == ['4 6 10.0.0.1 1234', '5 6 10.0.0.1 1234']


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
def test_a_dead_process_of_a_training(tool, small_detector, tmp_path, dead):
    """The other one waits for it, and says nothing but that; with two workers each, none of which stays."""
    kill = f"""
def kill_once_it_trains():
    import os, pathlib, signal, threading, time

    def wait_and_kill():
        line = 'Epoch' + '(train)'  # the log has this text, too
        while not any(line in log.read_text() for log in pathlib.Path('{tmp_path}/work').glob('*/*.log')):
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    if os.environ['RANK'] == '{dead}':
        threading.Thread(target=wait_and_kill, daemon=True).start()

kill_once_it_trains()
train_dataloader.update(batch_size=2, num_workers=2)
train_cfg['max_epochs'] = 999
"""
    config = small_detector(tmp_path / 'small.py', kill)
    said = tool('dist_train.sh', config, 2, '--work-dir', tmp_path / 'work', ok=False).stdout
    assert re.search(r'Epoch\(train\) +\[1\]', said)
    assert said.splitlines()[-1].startswith(f'error: process {dead} of 2 was killed by SIGKILL')
    assert said.count('error: ') == 1
    assert 'Traceback' not in said


def test_a_mistake_in_a_config_is_the_last_line(tool):
    said = tool('dist_train.sh', 'no_such_config', 2, ok=False).stdout
    assert said.startswith('error: no config no_such_config')
    assert len(said.splitlines()) == 1
