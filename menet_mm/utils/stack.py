"""The stacks of docs/install.md: versions that cannot work together, and what differs between those that do.

A function that bridges a difference says with which release it can go.
"""

import inspect
import re
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from menet_mm.errors import InputError
from menet_mm.utils.environment import library_versions

#: Distributions of each MM library, OneDL's first. Two of one library overwrite each other's files.
LIBRARIES = dict(
    mmengine=('onedl-mmengine', 'mmengine', 'mmengine-lite'),
    mmcv=('onedl-mmcv', 'mmcv', 'mmcv-lite', 'mmcv-full'),
    mmdet=('onedl-mmdetection', 'mmdet'),
    mmpretrain=('onedl-mmpretrain', 'mmpretrain'),
)
#: The first transformers beside which a library cannot be imported.
TRANSFORMERS = {'onedl-mmpretrain': '5', 'onedl-mmdetection': '5', 'mmpretrain': '4.52', 'mmdet': '4.56'}
#: What the looked-up name of `menet_mm::` must be: mmengine 0.10.7 takes a distribution that pip knows for a folder in
#: site-packages, where an editable install has none. A module is found by import. Can go with OpenMMLab's row.
CONFIG_HOME = 'menet_mm.errors'


def check_stack() -> None:
    """Refuse versions that are known not to work together. Only metadata are read, which takes milliseconds.

    Raises:
        InputError: with the versions that were found, and what to install instead.
    """
    found = _find_versions()
    if problem := _find_problem(found):
        raise InputError(f'{problem}; {_remedy(found)}')


def import_library(name: str) -> ModuleType:
    """Import a module of an MM library.

    Raises:
        InputError: if the library is not there, or cannot be imported for a known reason.
    """
    try:
        return import_module(name)
    except Exception as error:  # what a library meets on the way may be of any kind
        found, reason = _find_versions(), str(error).split('\n')[0]
        library = name.partition('.')[0]
        if getattr(error, 'name', None) == library:
            known = f'{library} is not installed, and this config needs it; {_remedy(found)}'
        elif '_ext' in reason:
            known = f'the operators of mmcv were built for another torch ({reason}); {_remedy(found)}'
        elif 'torchvision::nms' in reason:
            known = f'torchvision was built for another torch ({reason}); {_remedy(found)}'
        elif bad := _find_transformers():
            known = f'{bad}: run `pip install "transformers<{TRANSFORMERS[bad.split()[0]]}"`, or remove it'
        else:
            raise
        raise InputError(known) from error


def hide_transformers() -> None:
    """Let this process, a command of ours, run beside a transformers that an MM library cannot be imported with.

    The libraries import it for models that no config of ours has. Nothing is done beside a version that they take. Can go
    when the libraries take transformers 5.
    """
    if not (bad := _find_transformers()):
        return
    print(f'note: {bad}, so it is left out', file=sys.stderr)
    sys.modules['transformers'] = None  # importing it is an ImportError, as where it is not installed
    if library := find_spec('mmpretrain'):
        # mmpretrain looks at what is installed, not at what can be imported. Its switch must be set before its models load.
        name = 'mmpretrain.utils.dependency'
        spec = spec_from_file_location(name, Path(library.origin).parent / 'utils/dependency.py')
        sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        sys.modules[name].WITH_MULTIMODAL = False


def check_exporter() -> None:
    """Raise InputError if this torch has no exporter that can write our networks; can go with torch 2.4."""
    import torch

    if 'external_data' not in inspect.signature(torch.onnx.export).parameters:
        raise InputError(
            f'export needs torch 2.5 or newer, but this is {torch.__version__}: use another row of docs/install.md'
        )


def get_is_compiling() -> Callable[[], bool]:
    """Get ``torch.compiler.is_compiling``, which came with torch 2.3."""
    import torch

    return getattr(torch.compiler, 'is_compiling', None) or torch._dynamo.is_compiling


def is_number(default: object) -> bool:
    """Whether the default of a parameter is a number; until torch 2.2 a learning rate had an object of its own for none."""
    return type(default) in (int, float) or repr(default) == '<required parameter>'


def _find_versions() -> dict[str, str]:
    return library_versions(
        ['torch', 'torchvision', 'numpy', *(name for names in LIBRARIES.values() for name in names)]
    )


def _find_transformers() -> str | None:
    """Say which library cannot be imported beside the transformers that is installed, if there is one."""
    installed = library_versions(['transformers']).get('transformers')
    for name, text in library_versions(TRANSFORMERS if installed else ()).items():
        if _number(installed) >= _number(TRANSFORMERS[name]):
            return f'{name} {text} cannot be imported beside transformers {installed}'
    return None


def _find_problem(found: dict[str, str]) -> str | None:
    for names in LIBRARIES.values():
        if len(both := [name for name in names if name in found]) > 1:
            return f'{" and ".join(both)} are both installed and overwrite each other'
    new = {name: _number(text) for name, text in found.items()}
    if new.get('mmdet', (9,)) <= (3, 3) and new.get('mmcv', ()) >= (2, 2):
        return f'mmdet {found["mmdet"]} refuses mmcv {found["mmcv"]}'
    if new.get('mmcv', (9,)) < (2, 2) and new.get('numpy', ()) >= (2,):
        return f'mmcv {found["mmcv"]} does not work with numpy {found["numpy"]}'
    mmdet, mmcv = find_spec('mmdet'), find_spec('mmcv')
    if mmdet and mmcv and mmcv.origin and not list(Path(mmcv.origin).parent.glob('_ext.*')):
        return 'mmcv was installed without its operators, which mmdet needs'
    torch, vision = new.get('torch', ()), new.get('torchvision', ())
    if torch[:1] == (2,) and vision[:1] == (0,) and torch[1] + 15 != vision[1]:
        return f'torchvision {found["torchvision"]} is not made for torch {found["torch"]}'
    return None


def _remedy(found: dict[str, str]) -> str:
    versions = ', '.join(f'{name} {text}' for name, text in found.items())
    row = '[onedl] or [openmmlab]'
    return f'found {versions}; install a set that works, {row} as docs/install.md says, into a new environment'


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r'\d+', text.partition('+')[0])[:2])
