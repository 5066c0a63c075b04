"""Finding and reading configs, the same way in every command and function."""

import io
import os
import sys
from contextlib import redirect_stdout
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from menet_mm.errors import InputError
from menet_mm.utils.stack import check_stack, import_library

if TYPE_CHECKING:
    from mmengine.config import Config

FOLDERS = (Path('configs'), Path(__file__).parents[1] / '.mim/configs/menet')  # where configs are looked for by name


def find_config(name: str | Path) -> Path:
    """Find a config: a file, or a name without folder and ending, such as ``ssd_menet228_voc``; else ``InputError``."""
    path = Path(name)
    named = [] if path.parent != Path() or path.suffix else [folder / f'{name}.py' for folder in FOLDERS]
    if found := next(filter(Path.is_file, [path, *named]), None):
        return found
    known = sorted({file.stem for folder in FOLDERS for file in folder.glob('*.py')})
    near = get_close_matches(path.stem, known, n=3) or ['ssd_menet228_voc', 'menet228_in1k']
    raise InputError(f'no config {name}: give a file, or a name such as {" or ".join(near)}')


def read_config(name: str | Path, options: dict | None = None) -> 'Config':
    """Find and read a config and merge ``options``, by dotted keys.

    Raises InputError if there is none, a key is misspelt, or the libraries that are installed do not work together.
    """
    path = find_config(name)
    check_stack()
    from mmengine.config import Config

    try:
        cfg = Config.fromfile(path)
    except (ImportError, TypeError) as error:  # of custom_imports, and of bases that do not fit
        reason = str(error).split(', the current sys.path')[0].split('\n')[0]
        advice = 'put the folder of its modules into PYTHONPATH' if isinstance(error, ImportError) else 'correct it'
        raise InputError(f'config {path} cannot be read ({reason}): {advice}') from error
    if cfg.get('default_scope') in ('mmdet', 'mmpretrain'):
        with redirect_stdout(io.StringIO()):  # both print that an optional package is not installed
            for part in ('datasets', 'models'):
                import_library(f'{cfg.default_scope}.{part}')
    from menet_mm.utils.keys import check_keys

    check_keys(cfg, options)
    cfg.merge_from_dict(options or {})
    from menet_mm.utils.input_size import apply_input_size

    if (said := apply_input_size(cfg, (options or {}).get('input_size'))) and os.environ.get('RANK', '0') == '0':
        print(said, file=sys.stderr)
    return cfg
