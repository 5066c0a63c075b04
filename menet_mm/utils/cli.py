"""What the command lines in ``tools/`` share: messages and status, arguments, the config.

Importing this module loads neither torch nor an MM library, which takes seconds, so that ``--help`` and mistakes in the
arguments are answered at once. On a device that only runs a model there is no mmengine.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from menet_mm.errors import InputError
from menet_mm.utils.config import find_config

if TYPE_CHECKING:
    from mmengine.config import Config


def run(main: Callable[[], None]) -> None:
    """Run a command; a mistake in the input ends it with one sentence and status 1, without a traceback."""
    # The libraries say these at every start; a user cannot act on them.
    warnings.filterwarnings('ignore', category=DeprecationWarning)
    warnings.filterwarnings('ignore', category=FutureWarning)
    warnings.filterwarnings('ignore', message='faster_coco_eval is not installed')
    warnings.filterwarnings('ignore', message="Failed to add <class 'mmengine.visualization")
    warnings.filterwarnings('ignore', message="'pin_memory' argument is set as true but no accelerator")
    warnings.filterwarnings('ignore', message='Warning: The (bbox|polygon) is out of bounds')
    try:
        main()
    except InputError as error:
        sys.exit(f'error: {error}')
    except (PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        sys.exit(f'error: {error.filename} cannot be written or read ({error.strerror}): give another path')
    except AssertionError as error:
        # A data loader's worker met a picture that the check at the start had not read.
        found = re.search(r'failed to load image: (\S+)', str(error))
        if not found:
            raise
        sys.exit(f'error: image {found[1]} cannot be read; replace it or take its id out of the list')
    except KeyboardInterrupt:
        sys.exit(130)


def add_trust_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag that lets checkpoints bring objects of any kind; hand it to ``checkpoints.use_tensors_only``."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that hold more than tensors and plain values, which can run code: only from people you trust',
    )


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that OpenMMLab's train and test scripts have in common."""
    from mmengine.config import DictAction

    parser.add_argument('config', help='config file, or the name of one, such as ssd_menet228_voc')
    parser.add_argument('--work-dir', help='folder for logs and checkpoints; work_dirs/<config name> by default')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override the config, such as train_cfg.max_epochs=1 or key="[a,b]"',
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='how processes were started'
    )
    # torchrun sets the environment variable; older launchers pass the argument.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config of :func:`add_config_arguments`, with ``--cfg-options`` merged and ``work_dir`` set.

    Raises:
        InputError: if there is no such config, or a key is misspelt in it or in the options.
    """
    from mmengine.config import Config

    path = find_config(args.config)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(path)
    if cfg.get('default_scope') in ('mmdet', 'mmpretrain'):
        with redirect_stdout(io.StringIO()):  # both print that an optional package is not installed
            import_module(f'{cfg.default_scope}.datasets')
    from menet_mm.utils.keys import check_keys

    check_keys(cfg, args.cfg_options)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.launcher = args.launcher
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs') / path.stem)
    return cfg
