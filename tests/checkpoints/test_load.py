"""Files of unknown origin: what is loaded, and that nothing in them runs."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import get_torch_safe_globals, load_from_local
from safetensors.torch import save_file
from torch import nn

from menet_mm import InputError
from menet_mm.checkpoints import read_checkpoint, tensors_only, use_tensors_only, write_checkpoint


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


def test_getattr_reaches_nothing_but_mmengines_history(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (HistoryBuffer, '__init__')

    torch.save(dict(x=Reach()), tmp_path / 'reach.pth')
    with pytest.raises(InputError, match='more than tensors'):
        read_checkpoint(tmp_path / 'reach.pth')


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


def test_a_dtype_that_takes_bytes_for_objects_is_refused(tmp_path):
    """mmengine's own list lets it through: an array whose elements are addresses from the file."""

    class Objects:
        def __reduce__(self):
            return np.dtype, ('O8', False, True)

    class Crafted:
        def __reduce__(self):
            return np.dtype, ('i8', False, True), (3, '<', (Objects(), (1,)), None, None, 8, 8, 0)

    path = tmp_path / 'crafted.pth'
    torch.save(dict(x=Crafted()), path)
    with torch.serialization.safe_globals(get_torch_safe_globals()):
        assert torch.load(path, weights_only=True)['x'].subdtype[0].kind == 'O'  # so it is a real threat
    with pytest.raises(InputError, match=r'more than tensors and plain values \(numpy.dtype\)'):
        read_checkpoint(path)


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
        optimizer=dict(state={0: dict(step=torch.tensor(1.0))}),
    )
    torch.save(content, tmp_path / 'epoch_1.pth')
    loaded = read_checkpoint(tmp_path / 'epoch_1.pth')
    assert loaded['message_hub']['log_scalars']['train/loss'].mean() == 1.5
    assert loaded['meta'] == content['meta']
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
        'text.pth': (b'<html>not found</html>', 'is damaged or no checkpoint'),
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
