import pickle
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from menet_mm import InputError, MENet
from menet_mm.checkpoints import convert, read_checkpoint, write_checkpoint

ARCH = '108-8x1-g3'


@pytest.fixture(scope='session')
def authors(shared) -> OrderedDict:
    return read_checkpoint(shared / 'weights/108-MENet-8x1-group-3.pth.tar')['state_dict']


def test_authors_checkpoint_fills_the_classifier(authors):
    state, *recognised = convert(dict(state_dict=authors, name='108-MENet-8x1-group-3'))
    assert recognised == ["the authors'", 'MENet', ARCH]
    counters = [key for key in state if key.endswith('num_batches_tracked')]
    assert len(counters) == sum(key.endswith('running_mean') for key in authors) > 0
    assert len(state) == len(authors) + len(counters)  # their torch had no counters; nothing else is added or lost
    MENet(ARCH).load_state_dict({k.removeprefix('backbone.'): v for k, v in state.items() if k[0] == 'b'})
    assert torch.equal(
        state['backbone.stages.2.3.side.evolve.conv.weight'], authors['features.stage_3_4.s_evolve.weight']
    )
    assert torch.equal(state['head.fc.weight'], authors['classifier.weight'])


def test_a_file_of_the_authors_training_script(authors):
    training = dict(
        state_dict=OrderedDict((f'module.{key}', value) for key, value in authors.items()),
        optimizer={},
        last_epoch=119,
        best_prec1=56.08,
    )
    plain, *_ = convert(dict(state_dict=authors))
    state, layout, *_ = convert(training)
    assert layout == "the authors'"
    assert all(torch.equal(state[key], plain[key]) for key in plain)


def test_own_checkpoints_and_other_numbers_of_classes(theirs):
    state, *_, arch = convert(theirs('160-8x1-g8', num_classes=10).state_dict())
    assert arch == '160-8x1-g8'
    assert state['head.fc.weight'].shape == (10, 640)
    again, layout, _, arch = convert(dict(state_dict=state))
    assert (layout, arch) == ("menet_mm's", '160-8x1-g8')
    assert again.keys() == state.keys()


def test_what_does_not_match_is_named(theirs):
    good = theirs(ARCH).state_dict()
    key = 'features.stage2.unit3.s_conv.weight'
    ours = 'backbone.stages.1.2.side.conv.conv.weight'
    for state, message in [
        ({**good, key: torch.zeros(8, 8, 5, 5)}, f'{ours} is (8, 8, 5, 5) instead of (8, 8, 3, 3)'),
        ({k: v for k, v in good.items() if k != key}, f'missing {ours}'),
        ({**good, 'extra.weight': torch.zeros(2)}, 'unexpected extra.weight'),
        ({**good, 'features.stage2.unit3.se.weight': torch.zeros(2)}, 'se (unknown)'),
        (nn.Conv2d(3, 4, 1).state_dict(), 'of no network that is known here: its first keys are weight, bias'),
        ({}, 'no state dict'),
        ({'state_dict': {'epoch': 3}}, 'no state dict'),
    ]:
        with pytest.raises(InputError, match=re.escape(message)):
            convert(state)


def test_a_variant_between_the_published_ones_is_none_of_them(theirs):
    """Its widths are those of 228-12x1 but for the side path."""
    state = theirs('228-12x1-g3').state_dict()
    wide = {k: torch.zeros([16 if n == 12 else n for n in v.shape]) if '.s_' in k else v for k, v in state.items()}
    with pytest.raises(InputError, match=r'compared with MENet 228-12x1-g3, the nearest, .* [1-9]\d* differ'):
        convert(wide)


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_written_files_give_back_tensors_and_meta(theirs, tmp_path, ending):
    state, *_ = convert(theirs(ARCH).state_dict())
    path = tmp_path / f'menet108{ending}'
    path.write_text('an older file')
    write_checkpoint(path, state, dict(source='x.pth', variant=ARCH, sha256='0' * 64))
    content = read_checkpoint(path)
    assert content['meta'] == dict(source='x.pth', variant=ARCH, sha256='0' * 64)
    assert content['state_dict'].keys() == state.keys()
    assert all(torch.equal(content['state_dict'][key], state[key]) for key in state)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('ending', ['.pth', '.safetensors'])
def test_a_failure_leaves_the_older_file(tmp_path, ending):
    path = tmp_path / f'menet108{ending}'
    path.write_text('an older file')
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        write_checkpoint(path, {'x': torch.zeros(2)}, dict(bad=lambda: 0))
    assert path.read_text() == 'an older file'
    assert list(tmp_path.iterdir()) == [path]


def test_endings_and_folders(tmp_path):
    with pytest.raises(InputError, match='must end in'):
        write_checkpoint(tmp_path / 'no' / 'x.onnx', {}, {})
    assert not list(tmp_path.iterdir())
    write_checkpoint(tmp_path / 'new' / 'x.pth', {'x': torch.zeros(1)}, {})
    assert (tmp_path / 'new' / 'x.pth').is_file()
