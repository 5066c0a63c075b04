"""What the shell scripts say without arguments, and what the Slurm scripts ask of srun; a stub that prints stands in for it."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def srun(tool, tmp_path):
    """Call a script with that srun first in PATH, and return the words that srun got."""
    stub = tmp_path / 'srun'
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)

    def call(*arguments: str, **env: str) -> list[str]:
        return tool(*arguments, PATH=f'{tmp_path}{os.pathsep}{os.environ["PATH"]}', **env).stdout.splitlines()

    return call


def test_training_on_two_machines(srun):
    words = srun('slurm_train.sh', 'gpu', 'job', 'x.py', '--work-dir', 'a b', GPUS='16', SRUN_ARGS='--qos high')
    assert words[:2] == ['-p', 'gpu']
    assert {'--job-name=job', '--gres=gpu:8', '--ntasks=16', '--ntasks-per-node=8', '--qos', 'high'} <= set(words)
    at = words.index('python')
    assert words[at + 2].endswith('tools/train.py')
    assert words[at + 3 :] == ['x.py', '--launcher', 'slurm', '--work-dir', 'a b']


def test_testing_on_part_of_one(srun):
    words = srun('slurm_test.sh', 'gpu', 'job', 'x.py', 'x.pth', '--out', 'x.pkl', GPUS='2')
    assert {'--gres=gpu:2', '--ntasks=2', '--ntasks-per-node=2'} <= set(words)
    at = words.index('python')
    assert words[at + 2].endswith('tools/test.py')
    assert words[at + 3 :] == ['x.py', 'x.pth', '--launcher', 'slurm', '--out', 'x.pkl']


@pytest.mark.parametrize(
    ('script', 'too_few'),
    [('dist_train', ['x.py']), ('dist_test', []), ('slurm_train', []), ('slurm_test', ['gpu', 'job'])],
)
def test_usage(script, too_few):
    path = Path(__file__).resolve().parent.parent.parent / f'tools/{script}.sh'
    asked = subprocess.run(['bash', path, '--help'], capture_output=True, text=True)
    assert asked.returncode == 0
    assert f'tools/{script}.sh ' in asked.stdout
    assert 'CONFIG' in asked.stdout
    wrong = subprocess.run(['bash', path, *too_few], capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr == asked.stdout
