"""``python -m menet_mm.engine.ranks NUMBER SCRIPT ...``: the processes of one run on this machine, which end together.

Used by tools/dist_train.sh and dist_test.sh. NNODES, NODE_RANK, MASTER_ADDR and PORT describe several machines. Signals go on
to all processes; when this one is killed, the kernel kills them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from threading import Thread

from menet_mm.utils.cli import LOST_CONNECTION

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
#: Seconds that the others have for an end of their own: the same refusal, or a checkpoint after a signal.
GRACE = 30


def main(number: int, command: list[str]) -> None:
    """Start ``number`` processes of a Python command; exits with the status of the first that fails."""
    ranks = start(number, command)
    errors: dict[int, list[str]] = {}
    readers = [Thread(target=_relay, args=(rank, errors.setdefault(i, []))) for i, rank in enumerate(ranks)]
    for reader in readers:
        reader.start()
    for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(wanted, lambda number, _: [rank.send_signal(number) for rank in ranks if rank.poll() is None])
    failed = wait(ranks)
    for reader in readers:
        reader.join()
    if failed is None:
        return
    status = ranks[failed].returncode
    if status < 0:
        name = signal.Signals(-status).name
        print(
            f'error: process {failed} of {number} was killed by {name}, and the others were ended; if it trained, go on '
            'with the same command and --resume',
            file=sys.stderr,
        )
    if status == LOST_CONNECTION:
        if int(os.environ.get('NNODES', 1)) > 1:
            hint = 'the connection to a process on another machine was lost; see what that one says'
        else:
            hint = 'the processes of this run lost each other; start it again, with --resume if it trained'
        print(f'error: {hint}', file=sys.stderr)
    for line in errors[failed]:
        print(line, file=sys.stderr)
    sys.exit(128 - status if status < 0 else status)


def start(number: int, command: list[str]) -> list[subprocess.Popen]:
    """Start the processes, each in a process group of its own, with what torch's ``env://`` reads."""
    nodes, node = (int(os.environ.get(name, default)) for name, default in (('NNODES', 1), ('NODE_RANK', 0)))
    env = dict(os.environ, WORLD_SIZE=str(nodes * number), LOCAL_WORLD_SIZE=str(number), MENET_MM_RANKS='1')
    env['MASTER_ADDR'] = os.environ.get('MASTER_ADDR', '127.0.0.1')
    env['MASTER_PORT'] = os.environ.get('PORT') or str(29500 if nodes > 1 else _free_port())
    if number > 1:
        env.setdefault('OMP_NUM_THREADS', '1')  # as torchrun does
        env.setdefault('MKL_NUM_THREADS', '1')  # mmengine would, with a warning
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return [
        subprocess.Popen(
            [sys.executable, '-u', *command],
            env=dict(env, RANK=str(node * number + i), LOCAL_RANK=str(i)),
            preexec_fn=die_with_parent,
            process_group=0,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(number)
    ]


def wait(ranks: list[subprocess.Popen]) -> int | None:
    """Wait for all; once one has failed, the others are killed after a while. Returns the first that failed by itself."""
    failed: list[int] = []  # in order of time
    end = None
    while any(rank.poll() is None for rank in ranks):
        failed += [i for i, rank in enumerate(ranks) if rank.poll() and i not in failed]
        if failed and end is None:
            end = time.monotonic() + (GRACE if ranks[failed[0]].returncode >= 128 else 3)
        if end and time.monotonic() > end:
            break
        time.sleep(0.05)
    failed += [i for i, rank in enumerate(ranks) if rank.poll() and i not in failed]
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()
            rank.wait()
    return min(failed, key=lambda i: (ranks[i].returncode == LOST_CONNECTION, failed.index(i)), default=None)


def _free_port() -> int:
    # Not a usual one: two runs that start within seconds would both find it free, and lose each other.
    with socket.socket() as attempt:
        attempt.bind(('127.0.0.1', 0))
        return attempt.getsockname()[1]


def _relay(process: subprocess.Popen, errors: list[str]) -> None:
    """Pass on what a process says, but keep the sentence it ends with: all often end with the same one."""
    for line in process.stderr:
        if line.startswith('error: '):
            errors.append(line.rstrip())
        else:
            sys.stderr.write(line)


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2:])
