import subprocess
import sys
from importlib import metadata
from pathlib import Path

import menet_mm

ROOT = Path(__file__).resolve().parent.parent


def test_import_is_light():
    code = 'import menet_mm, sys; print(sorted({"torch", "cv2", "mmcv", "mmdet", "mmpretrain"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'


def test_commands_answer_before_they_import_torch():
    """Help and mistakes in the arguments must not take the seconds that torch and the MM libraries do."""
    code = """
import runpy, sys
for name, arguments in [
    ('train', ['none.py']), ('test', ['none.py', 'none.pth']), ('report', ['none.py', 'none.pkl']), ('infer', ['none.jpg']),
    ('export', ['none.py', 'none.pth', '--to', 'onnx', '--out', 'x.xml']), ('benchmark', ['--rounds', '0']),
    ('convert_checkpoint', ['-h']), ('download_voc', ['-h']), ('make_shapes', ['-h']), ('make_subsets', ['-h']), ('compare', ['none.py', '--jobs', '0']),
]:
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(f'tools/{name}.py', run_name='__main__')
    except SystemExit as ended:
        print(name, ended.code)
    assert not {'torch', 'mmcv', 'mmdet', 'mmpretrain'} & set(sys.modules), name
"""
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count(' error: ') == 7
    assert result.stdout.count('usage: ') == 4


def test_import_works_without_the_mm_libraries():
    """An interpreter without site-packages has none of them; the runner for exported models lives in such a place."""
    code = f'import sys; sys.path.insert(0, {str(ROOT)!r}); import menet_mm; print(menet_mm.InputError.__name__)'
    result = subprocess.run([sys.executable, '-I', '-S', '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'InputError\n'


def test_public_names_are_there():
    for name in menet_mm.__all__:
        assert getattr(menet_mm, name) is not None
    assert set(menet_mm.__all__) <= set(dir(menet_mm))


def test_installation_replaces_neither_torch_nor_an_mm_library():
    always = [r for r in metadata.requires('menet-mm') if 'extra ==' not in r]
    assert always == ['numpy', 'pillow', 'rich', 'safetensors']
