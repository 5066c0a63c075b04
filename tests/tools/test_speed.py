"""tools/benchmark.py, at its smallest."""

import pandas as pd


def test_the_command_line_writes_rows_and_a_plot(tool, tmp_path):
    out = tmp_path / 'rows.csv'
    arguments = ('--networks', 'mobilenet025_in1k', '--runtimes', 'onnxruntime', '--rounds', 1, '--folder', tmp_path)
    said = tool('benchmark.py', *arguments, '--out', out).stdout
    assert f'rows: {out}' in said
    rows = pd.read_csv(out)
    assert rows.source.tolist() == ['pytorchcv', 'pytorchcv', 'menet_mm']
    assert {'cpu', 'cores', 'torch', 'onnxruntime', 'date', 'rounds'} <= set(rows)
    assert out.with_suffix('.png').stat().st_size > 1000
    said = tool('benchmark.py', *arguments[:2], '--runtimes', 'tflite', ok=False).stdout
    assert said.strip().splitlines()[-1].startswith('error: unknown runtime tflite')
