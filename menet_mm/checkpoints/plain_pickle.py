"""A pickle module, for ``torch.load(pickle_module=...)``, that reads tensors and plain values and runs no code of the file.

A pickle is a program: it names callables and calls them. Here it can only name those of :data:`ALLOWED`.
"""

import io
import os
import pickle
import re
import sys
import tarfile
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

#: torch's own switches, which overrule what callers of torch.load ask for.
TORCH_SWITCHES = ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD')


class ForbiddenContent(pickle.UnpicklingError):
    """The file holds more than tensors and plain values; the message names it."""


def _getattr(owner: object, name: str) -> None:
    """mmengine's pickles name methods of HistoryBuffer in this way. They are dropped, since every process has them."""
    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ForbiddenContent(f'builtins.getattr of {name}')


def _dtype(code: str, *_: object) -> np.dtype:
    """Numbers alone: an array of objects would take bytes of the file for addresses."""
    if not re.fullmatch(r'[biufc]\d{1,2}', code):
        raise ForbiddenContent(f'numpy.dtype of {code}')
    return np.dtype(code, copy=True)


#: These stand for themselves.
_PLAIN = (bytearray, complex, set, Counter, OrderedDict, HistoryBuffer, torch.Size, torch.device)
_REBUILD = (torch._utils._rebuild_tensor, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter)
#: What a pickle may name, by name. torch's own ``_load_from_bytes`` would unpickle anything.
ALLOWED = {
    **{f'{kind.__module__}.{kind.__name__}': kind for kind in (*_PLAIN, *_REBUILD)},
    # Pickles of protocol 2 keep bytes as text.
    **dict.fromkeys(('builtins.bytes', '_codecs.encode'), lambda text='', _='': text.encode('latin1')),
    'builtins.getattr': _getattr,
    'numpy.dtype': _dtype,
    'numpy.ndarray': None,  # an argument of _reconstruct; shape and type follow in the array's state
    **{f'numpy.{core}.multiarray._reconstruct': lambda *_: np.empty(0, 'u1') for core in ('core', '_core')},
    **{f'numpy.{core}.multiarray.scalar': lambda t, data: np.frombuffer(data, t)[0] for core in ('core', '_core')},
    **{str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)},
    'torch.storage._load_from_bytes': lambda data: load_tensors(io.BytesIO(data)),
}


class Unpickler(pickle._Unpickler):  # the one in Python: the one in C has no hook for an object's state
    """Raises ForbiddenContent if a pickle names anything else."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def load(self) -> object:
        try:
            return super().load()
        except LookupError:
            raise pickle.UnpicklingError('it is no pickle') from None

    def find_class(self, module: str, name: str) -> object:
        full = f'{module}.{name}'.replace('__builtin__.', 'builtins.')  # protocol 2 uses names of Python 2
        if full not in ALLOWED:
            raise ForbiddenContent(full)
        return ALLOWED[full]

    def load_build(self) -> None:
        """Set an object's state. That of a class or a function would change it for the whole process."""
        owner, state = self.stack[-2:]
        if type(owner) is HistoryBuffer:
            state.pop('statistics_methods', None)  # they are the process's, too
        elif not (
            type(owner) is np.ndarray
            or (isinstance(owner, np.dtype) and (state[0], *state[2:]) == (3, None, None, None, -1, -1, 0))
            or (type(owner) is OrderedDict and state.keys() == {'_metadata'})
        ):
            raise ForbiddenContent(f'the state of a {type(owner).__name__}')
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build


def load(file: BinaryIO, **options: str) -> object:
    """Read a pickle, such as ``mmengine.dump`` writes; ForbiddenContent or, if it is damaged, any exception is raised."""
    return Unpickler(file, **options).load()


def load_tensors(file: BinaryIO, map_location: str | torch.device = 'cpu') -> object:
    """Read a file of ``torch.save``, of any torch version but 0.1; raises as :func:`load` does."""
    # Two formats torch.load reads without our unpickler. Its own reader is asked: in a crafted archive Python's zipfile may
    # find other entries.
    archive = file.read(4) == b'PK\3\4'
    file.seek(0)
    if archive and 'constants.pkl' in torch._C.PyTorchFileReader(file).get_all_records():
        raise ForbiddenContent('a TorchScript program')
    if not archive and tarfile.is_tarfile(file):
        raise ForbiddenContent('a tar file of torch 0.1')
    file.seek(0)
    with without_torch_switches():
        return torch.load(file, map_location=map_location, pickle_module=sys.modules[__name__], weights_only=False)


@contextmanager
def without_torch_switches() -> Iterator[None]:
    """Take torch's switches away and put them back: they forbid an unpickler of our own, and what a user trusts."""
    before = {name: os.environ.pop(name) for name in TORCH_SWITCHES if name in os.environ}
    try:
        yield
    finally:
        for name in TORCH_SWITCHES:
            os.environ.pop(name, None)
        os.environ.update(before)
