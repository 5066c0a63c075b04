"""What all command lines in ``tools/`` share: messages and status, and an argument. Imports nothing heavy."""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections.abc import Callable

from menet_mm.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Run a command; a mistake in the input ends it with one sentence and status 1, without a traceback."""
    # Said by the libraries at every start, and nothing that a user could act on.
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
        # A picture that the check at the start did not read, met by a data loader's worker.
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
