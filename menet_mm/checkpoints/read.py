"""Reading checkpoints of unknown origin: tensors and plain values, and no code that a pickle brings along."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_http, load_from_local
from safetensors import SafetensorError, safe_open
from torch import nn

from menet_mm.errors import InputError

#: An archive with one checkpoint in it, as pytorchcv publishes them, is unpacked up to this size.
MAX_UNPACKED_BYTES = 4 << 30


def _history_method(owner: type, name: str):
    """Stand in for the ``getattr`` in mmengine's pickles, which they use for these methods alone."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr of {name}')
    return getattr(owner, name)


#: What a training checkpoint of mmengine holds besides tensors: numbers of numpy and the history of logged scalars.
PLAIN_TYPES = [
    (_history_method, 'builtins.getattr'),
    HistoryBuffer,
    np.ndarray,
    np.dtype,
    np._core.multiarray._reconstruct,
    np._core.multiarray.scalar,
    *(type(np.dtype(name)) for name in ('bool', 'int32', 'int64', 'uint32', 'float32', 'float64')),
]


def read_checkpoint(path: str | Path, trust: bool = False, map_location: str | torch.device = 'cpu') -> dict:
    """Read a ``.safetensors`` file or one of ``torch.save``, also inside a zip archive.

    Args:
        path: a local file, or an http(s) address, which is kept in torch's cache of checkpoints.
        trust: unpickle any object. That runs code which the file brings along.
        map_location: device of the tensors.

    Returns:
        What was saved; of a safetensors file ``dict(meta=..., state_dict=...)``.

    Raises:
        InputError: if there is no such file, or it is empty, damaged or no checkpoint, or holds more than tensors and
            plain values.
    """
    if str(path).startswith(('http://', 'https://')):
        path = fetch(str(path), Path(torch.hub.get_dir()) / 'checkpoints')
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f'no checkpoint {path}: train one, or convert one as docs/weights.md says')
    if path.stat().st_size == 0:
        raise InputError(f'checkpoint {path} is empty: fetch or train it again')
    try:
        content = (
            _read_safetensors(path, map_location)
            if path.suffix == '.safetensors'
            else _read_pickle(path, trust, map_location)
        )
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL (\S+)', str(error))
        if not found:
            raise _damaged(path, 'it is no file of torch.save') from None
        raise InputError(
            f'checkpoint {path} holds more than tensors and plain values ({found[1]}), and loading that may run code of '
            "its author's: use another file, or pass --trust-checkpoint if you know where it comes from"
        ) from None
    except (SafetensorError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise _damaged(path, str(error).split('\n')[0].rstrip('.') or type(error).__name__) from None
    except Exception as error:  # a damaged pickle can fail in any way
        if trust:
            raise
        raise _damaged(path, type(error).__name__) from None
    if not isinstance(content, dict):
        raise InputError(f'checkpoint {path} holds a {type(content).__name__} instead of a dict of tensors')
    return content


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f'checkpoint {path} is damaged or no checkpoint ({reason}): fetch or train it again')


def _read_safetensors(path: Path, map_location: str | torch.device) -> dict:
    with safe_open(path, framework='pt', device=str(map_location)) as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
        meta = {key: _parse(value) for key, value in (file.metadata() or {}).items()}
    return dict(meta=meta, state_dict=state)


def _parse(value: str) -> object:
    """safetensors keeps strings only; ours are JSON, other people's are what they are."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_pickle(path: Path, trust: bool, map_location: str | torch.device) -> object:
    with torch.serialization.safe_globals([] if trust else PLAIN_TYPES):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                inner = [info for info in archive.infolist() if info.filename.endswith(('.pth', '.pth.tar'))]
                if len(inner) == 1 and inner[0].file_size <= MAX_UNPACKED_BYTES:
                    with archive.open(inner[0]) as file:
                        return torch.load(file, map_location=map_location, weights_only=not trust)
        return torch.load(path, map_location=map_location, weights_only=not trust)


def fetch(url: str, folder: str | Path) -> Path:
    """Download a file, with progress, unless ``folder`` has it; half a download is never taken for the file.

    Raises:
        InputError: if the server cannot be reached or has no such file.
    """
    path = Path(folder) / (url.split('?')[0].rstrip('/').rsplit('/', 1)[-1] or 'checkpoint')
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path))
        except (OSError, ValueError) as error:
            raise InputError(
                f'{url} cannot be fetched ({error}): check the address, or fetch it and give the file'
            ) from None
    return path


def use_tensors_only(trust: bool = False) -> None:
    """Make every loader of this process, mmengine's included, read checkpoints as :func:`read_checkpoint` does.

    mmengine by itself unpickles any object if reading tensors alone fails.

    Args:
        trust: unpickle any object, as mmengine does.
    """
    if not trust:
        # Overrules weights_only=False wherever torch.load is called, behind mmengine's other schemes for example.
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'

    def load_from_file(filename: str, map_location: str | torch.device | None = None) -> dict:
        return read_checkpoint(filename, trust, map_location or 'cpu')

    # The empty prefix is that of every path without a scheme.
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), load_from_file, force=True)


@contextmanager
def tensors_only(trust: bool = False) -> Iterator[None]:
    """Do as :func:`use_tensors_only` for a while, and leave the process as it was."""
    before = os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
    use_tensors_only(trust)
    try:
        yield
    finally:
        os.environ.pop('TORCH_FORCE_WEIGHTS_ONLY_LOAD', None)
        if before is not None:
            os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = before
        CheckpointLoader.register_scheme('', load_from_local, force=True)
        CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)


def check_fit(model: nn.Module, checkpoint: dict) -> None:
    """Check that a checkpoint has exactly a model's tensors; mmengine only warns and goes on with random weights.

    Args:
        model: built model, possibly wrapped for distributed training.
        checkpoint: what :func:`read_checkpoint` returns.

    Raises:
        InputError: naming the first tensors that are missing, unexpected or of another shape.
    """
    missing, unexpected, differing = compare(model, checkpoint)
    if not (missing or unexpected or differing):
        return
    examples = [f'missing {key}' for key in missing[:2]] + [f'unexpected {key}' for key in unexpected[:2]]
    examples += differing[:2]
    raise InputError(
        f'the checkpoint is of another network: {len(missing)} tensors are missing, {len(unexpected)} are unexpected and '
        f'{len(differing)} differ in shape ({"; ".join(examples)}); give the config that it was trained with'
    )


def compare(model: nn.Module, checkpoint: dict) -> tuple[list[str], list[str], list[str]]:
    """List the tensors in which a checkpoint differs from a model: missing, unexpected, and of another shape."""
    model = getattr(model, 'module', model)
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    state = checkpoint.get('state_dict', checkpoint)
    given = {str(key).removeprefix('module.'): tuple(getattr(value, 'shape', ())) for key, value in state.items()}
    return (
        [key for key in own if key not in given],
        [key for key in given if key not in own],
        [f'{key} is {given[key]} instead of {own[key]}' for key in own if key in given and own[key] != given[key]],
    )
