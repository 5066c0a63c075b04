"""Reading checkpoints of unknown origin: tensors and plain values, and no code that a pickle brings along."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from menet_mm.errors import InputError

#: An archive with one checkpoint in it, as pytorchcv publishes them, is unpacked up to this size.
MAX_UNPACKED_BYTES = 4 << 30
#: torch's own switches, which overrule what callers of torch.load ask for.
TORCH_SWITCHES = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')


class _Dtype:
    """Stand-in for ``numpy.dtype`` in a pickle, whose state could make an array take raw bytes for objects."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r'[biufc]\d{1,2}', code):
            raise pickle.UnpicklingError(f'Unsupported global: GLOBAL numpy.dtype of {code}')
        self.value = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        # (version, byte order, ...); the rest describes structured types.
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stand-in for ``numpy.ndarray`` in a pickle; :func:`_restore` puts the array in its place."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.value = np.frombuffer(data, dtype.value).reshape(shape, order='F' if fortran else 'C').copy()


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.value)[0]


def _history_method(owner: type, name: str) -> object:
    """Stand in for the ``getattr`` in mmengine's pickles, which they use for these methods alone."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise pickle.UnpicklingError(f'Unsupported global: GLOBAL builtins.getattr of {name}')
    return getattr(owner, name)


#: Arrays and numbers of numpy.
NUMPY_TYPES = [
    (_Dtype, 'numpy.dtype'),
    (_Array, 'numpy.ndarray'),
    # numpy 1 and 2
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
]
#: What a training checkpoint of mmengine holds besides tensors: numbers of numpy and the history of logged scalars.
PLAIN_TYPES = [HistoryBuffer, (_history_method, 'builtins.getattr'), *NUMPY_TYPES]


def _restore(value: object) -> object:
    """Replace the stand-ins by what they stand for."""
    if isinstance(value, _Array | _Dtype):
        return value.value
    if isinstance(value, HistoryBuffer):
        vars(value).update(_restore(vars(value)))
    elif isinstance(value, dict):
        for key in value:
            value[key] = _restore(value[key])
    elif type(value) in (list, tuple):
        return type(value)(_restore(item) for item in value)
    return value


def _storage(data: bytes) -> object:
    """Stand in for ``torch.storage._load_from_bytes``, which reads the memory of a tensor and unpickles anything."""
    return torch.load(io.BytesIO(data), weights_only=True)


def _bytes(text: str = '', encoding: str = 'latin1') -> bytes:
    """Stand in for ``_codecs.encode`` and ``bytes``, as which pickles of protocol 2 keep bytes."""
    return text.encode('latin1')


class _PlainUnpickler(pickle.Unpickler):
    KNOWN = {
        **{name: stand_in for stand_in, name in NUMPY_TYPES},
        'collections.OrderedDict': OrderedDict,
        'torch._utils._rebuild_tensor_v2': torch._utils._rebuild_tensor_v2,
        'torch.storage._load_from_bytes': _storage,
        **dict.fromkeys(('_codecs.encode', 'builtins.bytes', '__builtin__.bytes'), _bytes),
    }

    def find_class(self, module: str, name: str) -> object:
        """Refuse what is not known: every callable of a pickle comes from here."""
        if (found := self.KNOWN.get(f'{module}.{name}')) is None:
            raise pickle.UnpicklingError(f'it names {module}.{name}, which is neither a tensor nor a plain value')
        return found


def read_plain_pickle(file: BinaryIO) -> object:
    """Read a pickle, such as ``mmengine.dump`` writes, of dicts, lists, tensors, arrays and plain values alone.

    Raises:
        pickle.UnpicklingError: if it holds anything else. A damaged pickle can raise any exception.
    """
    return _restore(_PlainUnpickler(file).load())


def read_checkpoint(path: str | Path, trust: bool = False, map_location: str | torch.device = 'cpu') -> dict:
    """Read a ``.safetensors`` file or one of ``torch.save``, also inside a zip archive.

    Args:
        path: a local file, or an http(s) address, which is kept in torch's cache of checkpoints.
        trust: unpickle any object. That runs code which the file brings along.
        map_location: device of the tensors.

    Returns:
        What was saved; of a safetensors file ``dict(meta=..., state_dict=...)``. Beside a ``state_dict``, ``meta`` is a dict,
        and so is its ``dataset_meta`` if it has one, whatever the file holds there.

    Raises:
        InputError: if there is no such file, or it is empty, damaged or no checkpoint, or holds more than tensors and
            plain values.
    """
    if str(path).startswith(('http://', 'https://')):
        cached = fetch(str(path), Path(torch.hub.get_dir()) / 'checkpoints')
        try:
            return read_checkpoint(cached, trust, map_location)
        except InputError:
            cached.unlink(missing_ok=True)  # so that the next call fetches it again
            raise
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
    if not isinstance(content, dict) or not isinstance(content.get('state_dict', {}), dict):
        raise InputError(f'checkpoint {path} holds no dict of tensors')
    if 'state_dict' in content and not isinstance(content.get('meta'), dict):
        content['meta'] = {}
    if isinstance(meta := content.get('meta'), dict):
        if not isinstance(meta.get('dataset_meta'), dict):
            meta.pop('dataset_meta', None)
        if not trust:
            # When it resumes, mmengine executes this text as a config, which is Python; it does not write it itself.
            meta.pop('config', None)
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
        content = _load(path, trust, map_location)
    return content if trust else _restore(content)


def _load(path: Path, trust: bool, map_location: str | torch.device) -> object:
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
    from menet_mm.datasets.download import download  # needs packages that only downloads need

    # Servers have files of one name in several places.
    name = url.split('?')[0].rstrip('/').rsplit('/', 1)[-1] or 'checkpoint'
    path = Path(folder) / f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}'
    download(url, path)
    return path


def use_tensors_only(trust: bool = False) -> None:
    """Make every loader of this process, mmengine's included, read checkpoints as :func:`read_checkpoint` does.

    mmengine by itself unpickles any object if reading tensors alone fails.

    Args:
        trust: unpickle any object, as mmengine does.
    """
    for name in TORCH_SWITCHES:
        os.environ.pop(name, None)
    if not trust:
        # Overrules weights_only=False wherever torch.load is called, behind mmengine's other schemes for example.
        os.environ[TORCH_SWITCHES[0]] = '1'

    def load_from_file(filename: str, map_location: str | torch.device | None = None) -> dict:
        return read_checkpoint(filename, trust, map_location or 'cpu')

    # The empty prefix is that of every path without a scheme.
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), load_from_file, force=True)


@contextmanager
def tensors_only(trust: bool = False) -> Iterator[None]:
    """Do as :func:`use_tensors_only` for a while, and leave the process as it was."""
    switches = {name: os.environ[name] for name in TORCH_SWITCHES if name in os.environ}
    loaders = CheckpointLoader._schemes.copy()
    use_tensors_only(trust)
    try:
        yield
    finally:
        for name in TORCH_SWITCHES:
            os.environ.pop(name, None)
        os.environ.update(switches)
        CheckpointLoader._schemes = loaders


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


def get_state(checkpoint: dict) -> dict[str, Tensor]:
    """Get the tensors of what :func:`read_checkpoint` returns, by names without the ``module.`` of ``DataParallel``."""
    return {str(key).removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}


def compare(model: nn.Module, checkpoint: dict) -> tuple[list[str], list[str], list[str]]:
    """List the tensors in which a checkpoint differs from a model: missing, unexpected, and of another shape."""
    model = getattr(model, 'module', model)
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    given = {key: tuple(getattr(value, 'shape', ())) for key, value in get_state(checkpoint).items()}
    return (
        [key for key in own if key not in given],
        [key for key in given if key not in own],
        [f'{key} is {given[key]} instead of {own[key]}' for key in own if key in given and own[key] != given[key]],
    )
