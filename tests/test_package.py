import ast
import subprocess
import sys
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import menet_mm

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = sorted(path for path in (ROOT / 'menet_mm').rglob('*.py') if '.mim' not in path.parts)
TOOLS = sorted((ROOT / 'tools').glob('*.py'))
SOURCES = [
    *INSTALLED,
    *TOOLS,
    ROOT / 'setup.py',
    *(path for name in ('benchmarks', 'docs', 'studies') for path in (ROOT / name).glob('*.py')),
]


def test_import_is_light():
    code = 'import menet_mm, sys; print(sorted({"torch", "cv2", "mmcv", "mmdet", "mmpretrain"} & set(sys.modules)))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == '[]\n'


def test_commands_answer_before_they_import_torch():
    """Help and mistakes in the arguments must not take the seconds that torch and the MM libraries do."""
    code = """
import runpy, sys
mistakes = dict(
    train=['none.py'], demo=['none.py', 'none.pth'], test=['none.py', 'none.pth'], report=['none.py', 'none.pkl'], infer=['none.jpg'],
    export=['none.py', 'none.pth', '--to', 'onnx', '--out', 'x.xml'],
)
for path in sys.argv[1:]:
    name = path.split('/')[-1].removesuffix('.py')
    for arguments in [['--help'], *([mistakes[name]] if name in mistakes else [])]:
        sys.argv = [path, *arguments]
        try:
            runpy.run_path(path, run_name='__main__')
        except SystemExit as ended:
            print('ended', name, arguments[0], ended.code)
        assert not {'torch', 'mmcv', 'mmdet', 'mmpretrain'} & set(sys.modules), name
"""
    paths = [path for path in TOOLS if path.stem != 'setup_env']
    result = subprocess.run([sys.executable, '-c', code, *map(str, paths)], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    answers = [line.split(maxsplit=3)[1:] for line in result.stdout.splitlines() if line.startswith('ended ')]
    assert {name for name, argument, _ in answers if argument == '--help'} == {path.stem for path in paths}
    for name, argument, status in answers:
        assert status == '0' if argument == '--help' else status.startswith('error: '), name


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
    setup = ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    assert setup['options']['install_requires'].split() == ['numpy', 'pillow>=10.1', 'rich', 'safetensors']


def module_name(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')


def imports(path: Path, everywhere: bool = True) -> set[str]:
    """Modules that a file imports, with the names taken from them; only while it is loaded, or also in functions."""
    tree = ast.parse(path.read_text())
    package = module_name(path) if path.stem == '__init__' else module_name(path).rpartition('.')[0]
    found = set()
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not everywhere:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                start = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*start, *([base] if base else [])])
            found |= {base, *(f'{base}.{name.name}' for name in node.names)}
        pending += ast.iter_child_nodes(node)
    return found


def test_nothing_installed_imports_what_is_not():
    for path in INSTALLED:
        outside = {name for name in imports(path) if name.split('.')[0] in ('benchmarks', 'studies', 'tests', 'tools')}
        assert not outside, path


def test_no_circle_of_imports():
    modules = {module_name(path) for path in INSTALLED}
    graph = {module_name(path): imports(path, everywhere=False) & modules for path in INSTALLED}
    try:
        TopologicalSorter({name: needs - {name} for name, needs in graph.items()}).prepare()
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def test_models_stand_alone():
    allowed = ('models', 'registry', 'errors')
    for path in (ROOT / 'menet_mm/models').glob('*.py'):
        ours = {name.split('.')[1] for name in imports(path) if name.startswith('menet_mm.')}
        assert ours <= set(allowed), path


def test_files_and_functions_are_small():
    for path in SOURCES:
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f'{path}: {node.name}'


def test_the_package_does_not_grow():
    """Whoever adds a feature says how many lines it takes by raising the bound."""
    assert sum(len(path.read_text().splitlines()) for path in INSTALLED) <= 13190


def test_tools_of_users_are_installed():
    """Links, so that there is one copy; tools for developers are not among them."""
    folder = ROOT / 'menet_mm/.mim/tools'
    assert all(path.is_symlink() and path.resolve().parent == ROOT / 'tools' for path in folder.iterdir())
    developers = {'make_model_index.py', 'setup_env.py'}
    here = {path.name for path in (ROOT / 'tools').iterdir() if path.is_file()}
    assert {path.name for path in folder.iterdir()} == here - developers
