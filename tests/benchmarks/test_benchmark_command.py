"""-m benchmarks, at its smallest."""

import pandas as pd
import pytest


def test_the_command_line_writes_rows_and_a_plot(tool, tmp_path):
    out = tmp_path / 'rows.csv'
    arguments = ('--networks', 'mobilenet025_in1k', '--runtimes', 'onnxruntime', '--rounds', 1, '--folder', tmp_path)
    said = tool('benchmarks', *arguments, '--out', out).stdout
    assert f'rows: {out}' in said
    rows = pd.read_csv(out)
    assert rows.source.tolist() == ['pytorchcv', 'pytorchcv', 'menet_mm']
    assert {'cpu', 'vectors', 'mmacs', 'cores', 'torch', 'onnxruntime', 'date', 'rounds'} <= set(rows)
    assert out.with_suffix('.png').stat().st_size > 1000


@pytest.mark.slow
def test_training_is_measured(tool, tmp_path):
    out = tmp_path / 'rows.csv'
    arguments = ('--networks', 'mobilenet025_in1k', '--batch', 2, '--rounds', 1, '--precisions', 'fp32', 'bf16')
    tool('benchmarks', '--train', *arguments, '--out', out)
    rows = pd.read_csv(out)
    assert rows.form.tolist() == ['plain', 'plain', 'default', 'channels_last', 'default']
    assert rows.precision.tolist() == [*4 * ['fp32'], 'bf16']


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (('--runtimes', 'tflite'), "invalid choice: 'tflite'"),
        (('--data', '--threads', 2), 'error: --threads means nothing for data: leave it out'),
        (('--train', '--runtimes', 'onnxruntime'), 'error: --runtimes means nothing for training: leave it out'),
        (('--rounds', 0), 'error: --threads, --batch and --rounds must be at least 1'),
        (('--train', '--networks', 'ssd_menet228_voc'), 'error: --train measures classifiers'),
    ],
)
def test_wrong_arguments_are_explained(tool, arguments, sentence):
    assert sentence in tool('benchmarks', *arguments, ok=False).stdout
