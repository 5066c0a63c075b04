"""What the Slurm scripts ask of srun; one that only prints its arguments stands in for it."""

import os

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
