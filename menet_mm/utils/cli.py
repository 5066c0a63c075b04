"""What the command lines in ``tools/`` share. Importing it loads neither torch nor an MM library, so that help comes at once."""

import argparse
import errno
import os
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from menet_mm.errors import InputError
from menet_mm.utils.config import read_config
from menet_mm.utils.stack import hide_transformers

if TYPE_CHECKING:
    from mmengine.config import Config

#: What the libraries say at every start, and a user cannot act on.
USELESS = 'faster_coco_eval is not installed|Warning: The (bbox|polygon) is out of bounds|'
USELESS += "Failed to add <class 'mmengine.visualization|'pin_memory' argument is set as true but no accelerator"
TRUST = 'load checkpoints that hold more than tensors and plain values, which can run code: only from people you trust'

#: Status of a process that ends because another one did.
LOST_CONNECTION = 75


def run(main: Callable[[], None]) -> None:
    """Run a command; a mistake in the input ends it with one sentence and status 1, without a traceback."""
    warnings.simplefilter('ignore', DeprecationWarning)
    warnings.simplefilter('ignore', FutureWarning)
    warnings.filterwarnings('ignore', message=USELESS)
    hide_transformers()
    try:
        main()
    except InputError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        path = error.filename2 or error.filename
        if error.errno == errno.ENOSPC:
            sys.exit(f'error: {path or "a file"} cannot be written ({error.strerror}): make room, or give another path')
        if not path:
            raise
        sys.exit(f'error: {path} cannot be written or read ({error.strerror or error}): give another path')
    except AssertionError as error:
        # A data loader's worker met a picture that the check at the start had not read.
        if not (found := re.search(r'failed to load image: (\S+)', str(error))):
            raise
        sys.exit(f'error: image {found[1]} cannot be read; replace it or take its id out of the list')
    except RuntimeError as error:
        _explain(error)
        raise
    except KeyboardInterrupt:
        sys.exit(130)


def _explain(error: RuntimeError) -> None:
    """Exit with a sentence if it is one of torch's that say nothing of a bug."""
    if 'gloo' in str(error) or type(error).__name__ in ('DistBackendError', 'DistNetworkError', 'DistStoreError'):
        if 'MENET_MM_RANKS' in os.environ:
            sys.exit(LOST_CONNECTION)  # what started the processes says which one failed
        sys.exit('error: the connection to another process of this run was lost; see what that one says')
    if 'PytorchStreamWriter' in str(error) or 'file write failed' in str(error):
        sys.exit('error: a file cannot be written (No space left on device?): make room, or give another path')


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag that lets checkpoints bring objects of any kind; hand it to ``checkpoints.use_tensors_only``."""
    parser.add_argument('--trust-checkpoint', action='store_true', help=TRUST)


def add_verbose_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag that shows all that the libraries log; hand its negation to ``engine.launch.build_runner``."""
    parser.add_argument('--verbose', action='store_true', help='show the whole log, not only what is new to a person')


def add_tile_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--tile`` and ``--overlap``; call :func:`check_tile_arguments` with what was given."""
    parser.add_argument('--tile', type=int, metavar='PX', help='a detector looks at tiles of so many pixels, too')
    parser.add_argument('--overlap', type=float, help='share of a tile that its neighbours show, too (default: 0.2)')


def check_tile_arguments(args: argparse.Namespace) -> None:
    """Set the usual overlap; ``InputError`` if it is given alone, or there can be no such tiles."""
    if args.tile is None and args.overlap is not None:
        raise InputError('--overlap is of tiles: give --tile, too')
    args.overlap = 0.2 if args.overlap is None else args.overlap
    if args.tile is not None:
        from menet_mm.utils.tiles import check_tiles  # loads OpenCV

        check_tiles(args.tile, args.overlap)


def add_config_and_options(parser: argparse.ArgumentParser) -> None:
    """Add the config and ``--cfg-options``; hand both to :func:`menet_mm.utils.config.read_config`."""
    from mmengine.config import DictAction

    class Options(DictAction):
        def __call__(
            self, parser: argparse.ArgumentParser, args: argparse.Namespace, words: list[str], *_: Any
        ) -> None:
            given = ' '.join(words)
            if re.search(r'[=\[(,] *(dict\(|\{)', given):  # mmengine takes them for text, or never ends
                raise InputError(
                    f'--cfg-options takes no dicts, but got {given}: give KEY.NAME=VALUE, or write them in a config'
                )
            try:
                super().__call__(parser, args, words, *_)
            except (AssertionError, ValueError):
                raise InputError(f'--cfg-options takes KEY=VALUE, brackets in pairs, but got {given}') from None

    parser.add_argument('config', help='config file, or the name of one, such as ssd_menet228_voc')
    text = 'override the config, such as train_cfg.max_epochs=1 or key="[a,b]"'
    parser.add_argument('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help=text)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that OpenMMLab's train and test scripts have in common."""
    add_config_and_options(parser)
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; work_dirs/<config name> by default')
    launchers = ['none', 'pytorch', 'slurm', 'mpi']
    parser.add_argument('--launcher', choices=launchers, default='none', help='how processes were started')
    # torchrun sets the environment variable; older launchers pass the argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> 'Config':
    """Read the config of :func:`add_config_arguments` as :func:`read_config` does, and set its ``work_dir``."""
    cfg = read_config(args.config, args.cfg_options)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(cfg.filename).stem}'
    return cfg
