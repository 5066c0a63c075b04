"""A study through the command line: run, interrupted, continued, and reported again."""

import os
import re
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest


@pytest.mark.slow
@pytest.mark.parametrize('end', [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_study_goes_on(small_study, tmp_path, end):
    command = [sys.executable, '-m', 'studies', small_study, '--results', tmp_path / 'results']
    command += ['--work-dir', tmp_path / 'work', '--jobs', '2', '--threads', '1']
    first = tmp_path / 'work/small/menet_seed0'
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.time() + 300
    while not (first / 'last_checkpoint').is_file():
        assert time.time() < deadline
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.1)
    process.send_signal(end)
    process.communicate(timeout=120)
    epochs = int(re.search(r'epoch_(\d+)', (first / 'last_checkpoint').read_text())[1])

    for models, names in ((['--models', 'menet'], ['menet']), ([], ['menet', 'no_side_path'])):
        done = subprocess.run([*command, *models], capture_output=True, text=True, env={**os.environ, 'COLUMNS': '200'})
        assert done.returncode == 0, done.stdout + done.stderr
        assert pd.read_csv(tmp_path / 'results/small.csv').model.tolist() == names
    # Whole epochs are not trained again; the one that was under way may have ended while the runner was.
    resumed = int(re.search(r'resumed epoch: (\d+)', (first / 'output.log').read_text())[1])
    assert resumed >= epochs
    rows = pd.read_csv(tmp_path / 'results/small.csv').set_index('model')
    assert rows.parameters['menet'] - rows.parameters['no_side_path'] == 654_516 - 627_292
    assert rows.epochs.tolist() == [6, 6]
    assert {'seed', 'torch', 'device', 'threads', 'vectors', 'date'} <= set(rows.columns)
    assert (tmp_path / 'results/small.png').is_file()
    assert '| no_side_path | 1 |' in (tmp_path / 'results/small.md').read_text()

    before = (tmp_path / 'results/small.csv').read_bytes()
    for arguments in ([], ['--report-only']):
        (tmp_path / 'results/small.md').unlink()
        again = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert (tmp_path / 'results/small.csv').read_bytes() == before
        assert (tmp_path / 'results/small.md').is_file()


def test_help_and_mistakes_are_answered_before_torch_is_loaded(tool, small_study, tmp_path):
    misspelt = tmp_path / 'misspelt.py'
    misspelt.write_text(small_study.read_text().replace('metric =', 'metirc ='))
    for arguments, answer in (
        (['--help'], 'usage: python -m studies'),
        ([small_study, '--jobs', 0], 'error: --jobs must be at least 1'),
        ([tmp_path / 'none.py'], 'error: no study'),
        ([misspelt], "error: .*has 'metirc' but no 'metric'"),
        ([small_study, '--models', 'menet', 'no_side_pat'], "error: .*is 'no_side_path' meant"),
        ([small_study, '--report-only', '--results', tmp_path], 'error: .*small.csv has no results: run'),
    ):
        said = tool('studies', *arguments, ok=arguments == ['--help'], PYTHONPROFILEIMPORTTIME='1').stdout
        assert re.search(answer, said)
        assert 'Traceback' not in said
        assert not re.search(r'\| +torch$', said, re.MULTILINE)


def test_a_misspelt_metric_of_the_second_study_is_found_before_the_first_one_runs(tool, small_study, tmp_path):
    second = tmp_path / 'second.py'
    second.write_text(small_study.read_text().replace('accuracy/top1', 'acuracy/top1'))
    said = tool(
        'studies', small_study, second, '--results', tmp_path / 'results', '--work-dir', tmp_path / 'work', ok=False
    )
    assert re.search(r"error: .*'acuracy/top1': is 'accuracy/top1' meant", said.stdout)
    assert not (tmp_path / 'work').exists()
