"""Files of unknown origin: what is loaded, and that nothing in them runs."""

import io
import os
import pickle
import tarfile
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import load_from_local
from safetensors.torch import save_file
from torch import nn

from menet_mm import InputError
from menet_mm.checkpoints import check_fit, load, read_checkpoint, tensors_only, use_tensors_only, write_checkpoint


class Malicious:
    """Loading it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


@pytest.fixture
def malicious(tmp_path) -> tuple[Path, Path]:
    """A checkpoint, and the file that loading it would create."""
    created = tmp_path / 'created'
    path = tmp_path / 'malicious.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(2)), meta=Malicious(created)), path)
    return path, created


def test_a_malicious_pickle_creates_nothing(malicious):
    path, created = malicious
    with pytest.raises(InputError, match=r'more than tensors and plain values \(\S*system\).*--trust-checkpoint'):
        read_checkpoint(path)
    assert not created.exists()
    read_checkpoint(path, trust=True)
    assert created.exists()  # so the file above was a real threat


def test_mmengine_reads_no_less_carefully(malicious):
    """By itself it falls back to unpickling everything; behind other schemes than files and http as well."""
    path, created = malicious
    with tensors_only():
        with pytest.raises(InputError, match='more than tensors'):
            load_checkpoint(nn.Linear(2, 2), str(path))
        with pytest.raises(pickle.UnpicklingError):
            load_from_local(str(path), 'cpu')
    assert not created.exists()
    assert CheckpointLoader._get_checkpoint_loader(str(path)) is load_from_local
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def crafted(path: Path, program: bytes) -> Path:
    """A file of torch.save whose pickle is a dict with the result of this program."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in parts.items():
            archive.writestr(name, b'\x80\x02}U\x01x%ss.' % program if name.endswith('data.pkl') else content)
    return path


DTYPE = b'cnumpy\ndtype\n(U\x02%sI00\nI01\ntR'
ARRAY = b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntU\x01btR'
HISTORY = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
REBUILD = b'ctorch._utils\n_rebuild_tensor_v2\n'


@pytest.mark.parametrize(
    ('program', 'reason'),
    [
        (b'c__builtin__\ngetattr\n(' + HISTORY + b'U\x08__init__tR', 'builtins.getattr of __init__'),
        (b'c__builtin__\neval\n(U\x011tR', 'builtins.eval'),
        # An array of these would take bytes of the file for addresses of objects.
        (DTYPE % b'O8', 'numpy.dtype of O8'),
        (DTYPE % b'i8' + b'(I3\nU\x01<(' + DTYPE % b'i8' + b'(I1\nttNNI8\nI8\nI0\ntb', 'state of a Int64DType'),
        (DTYPE % b'i8' + b'(I3\nU\x01<N(U\x01ft}I8\nI8\nI0\ntb', 'state of a Int64DType'),
        (DTYPE % b'i8' + b'(I3\nU\x01<NNNI-1\nI-1\nI63\ntb', 'state of a Int64DType'),
        (ARRAY + b'(I1\n(I1\ntU\x01OI00\nU\x0812345678tb', 'damaged .*__setstate__'),
        (b'cnumpy.core.multiarray\nscalar\n(U\x01Oc_codecs\nencode\n(U\x0812345678tRtR', 'damaged .*OBJECT array'),
        # The state of a class or function would change it for the whole process.
        (HISTORY + b'N}U\x04mean' + REBUILD + b's\x86b', 'state of a type'),
        (REBUILD + b'N}U\x0c__defaults__(I1\nts\x86b', 'state of a function'),
        (b'ccollections\nOrderedDict\n)R}U\x0b__wrapped__' + REBUILD + b'sb', 'state of a OrderedDict'),
    ],
)
def test_crafted_pickles_are_refused(tmp_path, program, reason):
    path = crafted(tmp_path / 'crafted.pth', program)
    with pytest.raises(InputError, match=reason):
        read_checkpoint(path)


def test_a_history_brings_no_methods(tmp_path):
    """mmengine takes them over for the whole process."""
    program = HISTORY + b')\x81}(U\x12statistics_methods}U\x04mean' + REBUILD + b'sU\x0c_log_history]ub'
    path = crafted(tmp_path / 'crafted.pth', program)
    assert read_checkpoint(path)['x']._log_history == []
    mean = HistoryBuffer([1], [1])._statistics_methods['mean']
    assert mean is HistoryBuffer.mean
    try:
        read_checkpoint(path, trust=True)
        assert HistoryBuffer._statistics_methods['mean'] is not mean  # so it was a real threat
    finally:
        HistoryBuffer._statistics_methods['mean'] = mean


def test_other_formats_of_torch_are_refused(tmp_path):
    """torch.load reads them without the unpickler that it is given."""
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / 'script.pth')
    with tarfile.open(tmp_path / 'old.pth', 'w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            archive.addfile(tarfile.TarInfo(name))
    for name, reason in [('script.pth', 'TorchScript'), ('old.pth', r'torch 0\.1')]:
        with pytest.raises(InputError, match=f'more than tensors and plain values .*{reason}'):
            read_checkpoint(tmp_path / name)


class Nested(Malicious):
    """The same inside the memory of a tensor, which torch by itself unpickles without any care."""

    def __reduce__(self):
        inner = io.BytesIO()
        torch.save(Malicious(self.path), inner, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (inner.getvalue(),)


def test_the_memory_of_a_tensor_is_read_as_carefully(tmp_path):
    path, created = tmp_path / 'nested.pth', tmp_path / 'created'
    torch.save(dict(x=Nested(created)), path)
    with pytest.raises(InputError, match='more than tensors'):
        read_checkpoint(path)
    assert not created.exists()
    torch.load(path, weights_only=False)
    assert created.exists()  # so the file above was a real threat


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('menet.pth', bytes(1 << 20))
    monkeypatch.setattr(load, 'MAX_UNPACKED_BYTES', 1 << 19)
    with pytest.raises(InputError, match='unpacks to more than 524288 bytes'):
        read_checkpoint(tmp_path / 'bomb.pth')


def test_python_text_in_meta_is_dropped(tmp_path):
    """mmengine executes meta['config'] when it resumes."""
    meta = dict(epoch=3, config='raise SystemExit')
    torch.save(dict(state_dict={}, meta=meta), tmp_path / 'x.pth')
    torch.save(dict(weight=torch.zeros(2), meta=meta), tmp_path / 'flat.pth')
    write_checkpoint(tmp_path / 'x.safetensors', {}, meta)
    for name in ('x.pth', 'flat.pth', 'x.safetensors'):
        assert read_checkpoint(tmp_path / name)['meta'] == dict(epoch=3)


@pytest.mark.parametrize('meta', [None, 'made by hand', dict(dataset_meta='ten classes'), dict(dataset_meta=None)])
def test_meta_is_a_dict_whatever_the_file_holds(tmp_path, meta):
    torch.save(dict(state_dict={}, meta=meta), tmp_path / 'x.pth')
    assert read_checkpoint(tmp_path / 'x.pth')['meta'] == {}
    save_file({}, tmp_path / 'x.safetensors', dict(dataset_meta='ten classes', author='somebody'))
    assert read_checkpoint(tmp_path / 'x.safetensors')['meta'] == dict(author='somebody')


def test_trust_overrules_what_was_set_before(malicious, monkeypatch):
    path, created = malicious
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    before = CheckpointLoader._schemes.copy()
    with tensors_only(trust=True):
        load_checkpoint(nn.Linear(2, 2), str(path))
    assert created.exists()
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '1'
    assert CheckpointLoader._schemes == before


@pytest.mark.parametrize('switch', ['TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'])
def test_torchs_switches_change_nothing(malicious, monkeypatch, switch):
    path, created = malicious
    monkeypatch.setenv(switch, '1')
    with pytest.raises(InputError, match='more than tensors'):
        read_checkpoint(path)
    assert not created.exists()
    write_checkpoint(path, {'weight': torch.ones(2)}, {})
    assert read_checkpoint(path)['state_dict']['weight'].tolist() == [1, 1]
    assert os.environ[switch] == '1'


def test_what_was_chosen_for_the_process_survives_a_block(malicious, monkeypatch):
    path, _ = malicious
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    monkeypatch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '0')
    use_tensors_only()
    with tensors_only(trust=True):
        pass
    with pytest.raises(InputError, match='more than tensors'):
        load_checkpoint(nn.Linear(2, 2), str(path))


def test_a_training_checkpoint_of_mmengine(tmp_path):
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    content = dict(
        state_dict=OrderedDict(weight=torch.ones(2)),
        message_hub=dict(log_scalars={'train/loss': history}, step=np.int64(3)),
        meta=dict(epoch=1, dataset_meta=dict(classes=('a', 'b'))),
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}, weight=nn.Parameter(torch.ones(2)), dtype=torch.half),
        param_schedulers=[dict(milestones=Counter({8: 1}))],
    )
    torch.save(content, tmp_path / 'epoch_1.pth')
    loaded = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert loaded['message_hub']['log_scalars']['train/loss'].mean() == 1.5
    assert loaded['meta'] == content['meta']
    assert loaded['param_schedulers'] == content['param_schedulers']
    assert loaded['optimizer']['weight'].tolist() == [1, 1]
    assert loaded['optimizer']['dtype'] is torch.half
    assert type(loaded['message_hub']['log_scalars']['train/loss']._log_history) is np.ndarray
    assert loaded['message_hub']['step'] == 3


def test_an_archive_as_pytorchcv_publishes_it(tmp_path):
    torch.save(dict(weight=torch.ones(3)), tmp_path / 'menet.pth')
    with zipfile.ZipFile(tmp_path / 'menet.pth.zip', 'w') as archive:
        archive.write(tmp_path / 'menet.pth', 'menet108_8x1_g3-2076-6acc82e4.pth')
    assert read_checkpoint(tmp_path / 'menet.pth.zip')['weight'].tolist() == [1, 1, 1]


def test_files_that_are_no_checkpoints(tmp_path):
    good = tmp_path / 'good.pth'
    torch.save(dict(weight=torch.zeros(1000)), good)
    old = tmp_path / 'old.pth'
    torch.save(dict(weight=torch.zeros(1000)), old, _use_new_zipfile_serialization=False)
    cases = {
        'truncated.pth': (good.read_bytes()[:700], 'is damaged or no checkpoint'),
        'old.pth.tar': (old.read_bytes()[:1500], 'is damaged or no checkpoint'),
        'empty.pth': (b'', 'is empty'),
        'text.pth': (b'<html>not found</html>', 'is damaged or no checkpoint .it is no pickle'),
        'text.safetensors': (b'<html>not found</html>', 'is damaged or no checkpoint'),
        'empty.safetensors': (b'', 'is empty'),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            read_checkpoint(tmp_path / name)
        assert '\n' not in str(caught.value)
    torch.save(dict(state_dict=3), tmp_path / 'number.pth')
    with pytest.raises(InputError, match='holds no dict of tensors'):
        read_checkpoint(tmp_path / 'number.pth')
    torch.save(torch.zeros(3), tmp_path / 'tensor.pth')
    with pytest.raises(InputError, match='holds no dict of tensors'):
        read_checkpoint(tmp_path / 'tensor.pth')
    with pytest.raises(InputError, match='no checkpoint .*none.pth: train one, or convert'):
        read_checkpoint(tmp_path / 'none.pth')


@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_weights_that_are_not_finite_are_refused(value):
    model = nn.Linear(2, 2)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    state['bias'][1] = value
    with pytest.raises(InputError, match='1 tensors of the checkpoint are not finite .*bias.*: its training diverged'):
        check_fit(model, dict(state_dict=state))
