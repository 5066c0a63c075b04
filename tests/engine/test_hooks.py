"""What InputCheckHook lets pass, and what it stops; the whole command lines are tested in tests/tools."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModule
from mmengine.optim import CosineAnnealingLR, LinearLR
from torch import nn

from menet_mm import InputError
from menet_mm.engine.hooks import InputCheckHook


class NoPictures(BaseDataset):
    def load_data_list(self):
        return []


def start_training(model, schedulers=(), iterations=6, dataset=None):
    """Call the hook as a runner does that is about to train."""
    dataset = NoPictures(serialize_data=False) if dataset is None else dataset
    training = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))
    InputCheckHook().before_run(
        SimpleNamespace(
            model=model,
            _train_loop=training,
            _val_loop=None,
            _test_loop=None,
            param_schedulers=list(schedulers),
            max_epochs=2,
            max_iters=iterations,
            logger=logging.getLogger('hook'),
        )
    )


def runner_of(model, *, training=False, resume=False):
    loop = SimpleNamespace(dataloader=[]) if training else dict(type='TrainLoop')
    return SimpleNamespace(model=model, _train_loop=loop, _resume=resume)


def load(model, state_dict, **kwargs):
    InputCheckHook().after_load_checkpoint(runner_of(model, **kwargs), dict(state_dict=state_dict))


def test_own_checkpoint_passes_with_and_without_ddp_prefix():
    model = nn.Conv2d(3, 4, 1)
    load(model, model.state_dict())
    load(model, {f'module.{k}': v for k, v in model.state_dict().items()})


@pytest.mark.parametrize(
    ('state_dict', 'message'),
    [
        ({'weight': torch.zeros(4, 3, 1, 1)}, '1 tensors are missing, 0 are unexpected.*missing bias'),
        (
            {'weight': torch.zeros(5, 3, 1, 1), 'bias': torch.zeros(4)},
            r'weight is \(5, 3, 1, 1\) instead of \(4, 3, 1, 1\)',
        ),
        ({'weight': torch.zeros(4, 3, 1, 1), 'bias': torch.zeros(4), 'x': 1}, 'unexpected x'),
    ],
)
def test_another_networks_checkpoint_is_refused_for_testing_and_resuming(state_dict, message):
    for kwargs in ({}, dict(training=True, resume=True)):
        with pytest.raises(InputError, match=message):
            load(nn.Conv2d(3, 4, 1), state_dict, **kwargs)


def test_fine_tuning_takes_a_part_but_not_nothing():
    model = nn.Conv2d(3, 4, 1)
    load(model, {'weight': torch.zeros(4, 3, 1, 1), 'head': torch.zeros(9)}, training=True)
    with pytest.raises(InputError, match='2 tensors are missing'):
        load(model, {'head': torch.zeros(9)}, training=True)


@pytest.mark.parametrize('more', [[], [dict(type='Kaiming', layer='Conv2d')]])
def test_weights_to_start_from_are_checked_alone_and_in_a_list(tmp_path, more):
    path = str(tmp_path / 'x.pth')
    for prefix in ('backbone.', 'backbone', None):  # mmengine takes it without the dot, too
        pretrained = dict(type='Pretrained', checkpoint=path, prefix=prefix)
        model = BaseModule([*more, pretrained] if more else pretrained)
        model.conv = nn.Conv2d(3, 4, 1)
        start = prefix and 'backbone.'
        for width, message in ((4, None), (5, 'is of another network')):
            state = nn.Conv2d(3, width, 1).state_dict(prefix=f'{start or ""}conv.')
            torch.save(dict(state_dict=state), path)
            if not message:
                start_training(model)
                continue
            with pytest.raises(InputError, match=message):
                start_training(model)


@pytest.mark.parametrize(('iterations', 'said'), [(500, 0), (6, 1)])
def test_a_warm_up_that_is_longer_than_the_training_is_said(caplog, iterations, said):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    warm_up = LinearLR(optimizer, by_epoch=False, end=500)
    start_training(nn.Conv2d(3, 4, 1), [warm_up, CosineAnnealingLR(optimizer, end=2)], iterations)
    assert len(caplog.records) == said
    assert all('takes 500 iterations, but the training has 6' in record.message for record in caplog.records)


class Pictures(BaseDataset):
    """Pictures at the given places."""

    def __init__(self, places):
        self.places = places
        super().__init__(serialize_data=False)

    def load_data_list(self):
        return [dict(img_path=place) for place in self.places]


def test_only_pictures_that_were_decoded_are_called_sound(shapes, caplog):
    caplog.set_level(logging.INFO)
    picture = str(next((shapes / 'VOC2007/JPEGImages').iterdir()))
    for dataset, said in [
        (Pictures([picture]), ['Decoded 1 images of 1: no defect found']),
        (Pictures([picture, 's3://bucket/x.jpg']), ['Decoded 1 images of 2: no defect found in these']),
        (Pictures(['s3://bucket/x.jpg']), []),
        (torch.utils.data.TensorDataset(torch.zeros(3, 1)), []),  # no data set of mmengine
    ]:
        caplog.clear()
        start_training(nn.Conv2d(3, 4, 1), dataset=dataset)
        assert [line for line in caplog.messages if line.startswith('Decoded')] == said
