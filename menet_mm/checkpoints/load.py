"""Reading checkpoints of unknown origin: tensors and plain values, and no code that a file brings along."""

import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import torch
from mmengine.runner import CheckpointLoader
from safetensors import safe_open
from torch import Tensor, nn

from menet_mm.errors import InputError

from .finite import find_nonfinite
from .plain_pickle import TORCH_SWITCHES, ForbiddenContent, load_tensors, without_torch_switches

#: A zip archive is unpacked up to this size, or to its own.
MAX_UNPACKED_BYTES = 4 << 30
_reading = threading.RLock()


def read_checkpoint(path: str | Path, trust: bool = False, map_location: str | torch.device = 'cpu') -> dict:
    """Read a ``.safetensors`` file or one of ``torch.save``, also inside a zip archive.

    One from an http(s) address is kept in torch's cache of checkpoints. With ``trust`` a file may hold any object, and so run
    its own code. A safetensors file gives ``dict(meta=..., state_dict=...)``. Beside a ``state_dict``, ``meta`` is a dict, and
    so is its ``dataset_meta`` if it has one. Raises InputError if there is no such file, it is damaged, or it holds more than
    tensors and plain values.
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
        read = _read_safetensors if path.suffix == '.safetensors' else _read_pickle
        content = read(path, trust, map_location)
    except ForbiddenContent as error:
        raise InputError(
            f'checkpoint {path} holds more than tensors and plain values ({error}), and loading that may run code: '
            'use another file, or pass --trust-checkpoint if you know where it comes from'
        ) from None
    except InputError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        reason = str(error).split('\n')[0].rstrip('.') or type(error).__name__
        raise InputError(f'checkpoint {path} is damaged or no checkpoint ({reason}): fetch or train it again') from None
    if not isinstance(content, dict) or not isinstance(content.get('state_dict', {}), dict):
        raise InputError(f'checkpoint {path} holds no dict of tensors')
    meta = content['meta'] if isinstance(content.get('meta'), dict) else {}
    if 'state_dict' in content:
        content['meta'] = meta
    if not isinstance(meta.get('dataset_meta'), dict):
        meta.pop('dataset_meta', None)
    if not trust:
        meta.pop('config', None)  # mmengine executes it when it resumes, but does not write it
    return content


def _read_safetensors(path: Path, trust: bool, map_location: str | torch.device) -> dict:
    with safe_open(path, framework='pt', device=str(map_location)) as file:
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
        meta = file.metadata() or {}
    for key, value in meta.items():
        with suppress(ValueError):  # ours are JSON, other people's are what they are
            meta[key] = json.loads(value)
    return dict(meta=meta, state_dict=state)


def _read_pickle(path: Path, trust: bool, map_location: str | torch.device) -> object:
    with path.open('rb') as file, _reading, without_torch_switches():
        if zipfile.is_zipfile(file):
            file = _unpack(path, file)
        file.seek(0)
        if trust:
            return torch.load(file, map_location=map_location, weights_only=False)
        return load_tensors(file, map_location)


def _unpack(path: Path, file: BinaryIO) -> BinaryIO:
    """Get the one checkpoint in an archive, as pytorchcv publishes them; torch's own files are archives, too."""
    with zipfile.ZipFile(file) as archive:
        inner = [info for info in archive.infolist() if info.filename.endswith(('.pth', '.pth.tar'))]
        if sum(info.file_size for info in archive.infolist()) > max(MAX_UNPACKED_BYTES, path.stat().st_size):
            raise InputError(f'checkpoint {path} unpacks to more than {MAX_UNPACKED_BYTES} bytes: unpack it by hand')
        # torch 2.1 cannot read from an archive's member.
        return io.BytesIO(archive.read(inner[0])) if len(inner) == 1 else file


def fetch(url: str, folder: str | Path) -> Path:
    """Download a file unless ``folder`` has it; raises as :func:`menet_mm.datasets.download.download` does."""
    from menet_mm.datasets.download import download  # needs packages that only downloads need

    # Servers have files of one name in several places.
    name = url.split('?')[0].rstrip('/').rsplit('/', 1)[-1] or 'checkpoint'
    path = Path(folder) / f'{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}'
    download(url, path)
    return path


def use_tensors_only(trust: bool = False) -> None:
    """Make all loaders of this process read as :func:`read_checkpoint` does; mmengine's own fall back to unpickling any object."""

    def load_from_file(filename: str, map_location: str | torch.device | None = None) -> dict:
        return read_checkpoint(filename, trust, map_location or 'cpu')

    for name in TORCH_SWITCHES:
        os.environ.pop(name, None)
    if not trust:
        # Overrules weights_only=False wherever torch.load is called, behind mmengine's other schemes for example.
        os.environ[TORCH_SWITCHES[0]] = '1'
    # The empty prefix is that of every path without a scheme.
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), load_from_file, force=True)


@contextmanager
def tensors_only(trust: bool = False) -> Iterator[None]:
    """Do as :func:`use_tensors_only` for a while, and leave the process as it was."""
    loaders = CheckpointLoader._schemes.copy()
    with without_torch_switches():
        use_tensors_only(trust)
        try:
            yield
        finally:
            CheckpointLoader._schemes = loaders


class Difference(NamedTuple):
    """Names of the tensors in which a checkpoint differs from a model; ``differing`` has both shapes, too."""

    missing: list[str]
    unexpected: list[str]
    differing: list[str]

    def __str__(self) -> str:
        examples = [f'{kind} {key}' for kind in ('missing', 'unexpected') for key in getattr(self, kind)[:2]]
        missing, unexpected, differing = map(len, self)
        counts = f'{missing} tensors are missing, {unexpected} are unexpected and {differing} differ in shape'
        return f'{counts} ({"; ".join(examples + self.differing[:2])})'


def compare(model: nn.Module, checkpoint: dict) -> Difference:
    """Compare what :func:`read_checkpoint` returns with a model, which may be wrapped for distributed training."""
    own = {key: tuple(value.shape) for key, value in getattr(model, 'module', model).state_dict().items()}
    given = {key: tuple(getattr(value, 'shape', ())) for key, value in get_state(checkpoint).items()}
    missing = [key for key in own if key not in given]
    unexpected = [key for key in given if key not in own]
    differing = [key for key in own if key in given and own[key] != given[key]]
    return Difference(missing, unexpected, [f'{key} is {given[key]} instead of {own[key]}' for key in differing])


def check_fit(model: nn.Module, checkpoint: dict) -> None:
    """Raise InputError, naming the first that differ, unless a checkpoint has exactly a model's tensors; mmengine only warns."""
    if any(difference := compare(model, checkpoint)):
        raise InputError(f'the checkpoint is of another network: {difference}; give the config of its training')
    check_finite(model, checkpoint)


def check_finite(model: nn.Module, checkpoint: dict) -> None:
    """Raise InputError if a checkpoint has NaN or infinite values where a new model has none, as masks may have."""
    own = find_nonfinite(getattr(model, 'module', model).state_dict())
    if found := [name for name in find_nonfinite(get_state(checkpoint)) if name not in own]:
        raise InputError(
            f'{len(found)} tensors of the checkpoint are not finite (the first is {found[0]}): its training diverged; '
            'take an earlier one'
        )


def get_state(checkpoint: dict) -> dict[str, Tensor]:
    """Get the tensors of what :func:`read_checkpoint` returns, by names without the ``module.`` of ``DataParallel``."""
    return {str(key).removeprefix('module.'): value for key, value in checkpoint.get('state_dict', checkpoint).items()}
