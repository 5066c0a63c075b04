"""python -m benchmarks, at its smallest."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.__main__ import main
from menet_mm import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmarks(monkeypatch, tmp_path, capfd):
    """Call the command in this process, which has the libraries already, in a folder that is no checkout."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, 'argv', ['benchmarks', *map(str, arguments)])
        monkeypatch.chdir(tmp_path)
        main()
        return capfd.readouterr().out

    return call


def test_inference_writes_rows_and_a_plot(benchmarks, tmp_path):
    arguments = ('--networks', 'mobilenet025_in1k', '--runtimes', 'onnxruntime', '--rounds', 1)
    assert '| mobilenet025_in1k | menet_mm | onnxruntime | deploy |' in benchmarks(*arguments)
    out = tmp_path / 'work_dirs/benchmark/inference.csv'
    rows = pd.read_csv(out)
    assert rows.source.tolist() == ['pytorchcv', 'pytorchcv', 'menet_mm']
    assert rows.form.tolist() == ['default', 'plain', 'deploy']
    assert {'cpu', 'vectors', 'mmacs', 'cores', 'torch', 'onnxruntime', 'date', 'rounds'} <= set(rows)
    assert out.with_suffix('.png').stat().st_size > 1000


@pytest.mark.slow
def test_training_is_measured(benchmarks, tmp_path):
    out = tmp_path / 'rows.csv'
    arguments = ('--networks', 'mobilenet025_in1k', '--batch', 2, '--rounds', 1, '--precisions', 'fp32', 'bf16')
    benchmarks('--train', *arguments, '--out', out)
    rows = pd.read_csv(out)
    assert rows.form.tolist() == ['plain', 'plain', 'default', 'channels_last', 'default']
    assert rows.precision.tolist() == [*4 * ['fp32'], 'bf16']


def test_missing_data_ends_in_a_sentence_outside_a_checkout(benchmarks, tmp_path):
    with pytest.raises(InputError, match='no data set: data/VOCdevkit'):
        benchmarks('--data', '--rounds', 1)
    assert not list(tmp_path.iterdir())


def test_help_and_mistakes_are_answered_without_torch():
    cases = [
        (['-h'], 'usage: '),
        (['--runtimes', 'tflite'], "invalid choice: 'tflite'"),
        (['--data', '--threads', '2'], 'error: --threads means nothing for data: leave it out'),
        (['--data', '--passes'], 'error: --passes means nothing for data: leave it out'),
        (['--train', '--runtimes', 'onnxruntime'], 'error: --runtimes means nothing for training: leave it out'),
        (['--passes', '--compile'], 'error: --compile means nothing for passes: leave it out'),
        (['--rounds', '0'], 'error: --threads, --batch and --rounds must be at least 1'),
        (['--train', '--networks', 'ssd_menet228_voc'], 'error: --train measures classifiers'),
        (
            ['--networks', 'menet2288_in1k'],
            'error: no config menet2288_in1k: give a file, or a name such as menet228_in1k',
        ),
    ]
    code = f"""
import runpy, sys
for arguments in {[arguments for arguments, _ in cases]}:
    sys.argv = ['benchmarks', *arguments]
    print('case')
    try:
        runpy.run_module('benchmarks', run_name='__main__')
    except SystemExit as ended:
        print(ended.code, flush=True)
    assert not {{'torch', 'mmcv', 'mmdet', 'mmpretrain', 'pandas'}} & set(sys.modules), arguments
"""
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout
    for said, (_, sentence) in zip(done.stdout.split('case\n')[1:], cases, strict=True):
        assert sentence in said
