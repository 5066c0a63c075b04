"""A training whose loss or weights are no longer finite ends in one sentence, and none of it is saved."""

import re

import pytest
import torch

from menet_mm import InputError
from menet_mm.checkpoints.finite import find_nonfinite

pytestmark = pytest.mark.slow  # whole command lines

POISON = """
def register_poison():
    from mmengine.registry import TRANSFORMS

    @TRANSFORMS.register_module(force=True)
    class Poison:
        def __call__(self, results):
            results['img'] = results['img'] * float('nan')
            return results

register_poison()
train_pipeline = _base_.train_pipeline if 'size' not in globals() else train_pipeline
train_dataloader['dataset'] = dict(pipeline=[*train_pipeline[:-1], dict(type='Poison'), train_pipeline[-1]], **data)
"""
FASTER_RCNN = """
_base_ = {base!r}
data = dict(type='XMLDataset', metainfo=dict(classes=('circle', 'square', 'triangle', 'star')), data_root={data!r})
size = (96, 96)
train_pipeline = [dict(step, scale=size) if step.type == 'Resize' else step for step in _base_.train_pipeline]
test_pipeline = [dict(step, scale=size) if step.type == 'Resize' else step for step in _base_.test_pipeline]
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(pipeline=train_pipeline, **data))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline, **data))
test_dataloader = val_dataloader
model = dict(roi_head=dict(bbox_head=dict(num_classes=4)))
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1))
{more}
"""


@pytest.fixture
def config(request, small_detector, small_classifier, shapes, tmp_path):
    kind, more = request.param
    path = tmp_path / 'small.py'
    if kind == 'Faster R-CNN':
        base = f'{request.config.rootpath}/configs/faster_rcnn_menet108_voc.py'
        path.write_text(FASTER_RCNN.format(base=base, data=f'{shapes}/', more=more))
        return path
    return dict(SSD=small_detector, classifier=small_classifier)[kind](path, more)


def check(folder, said):
    """One sentence, a batch that can be looked at, and nothing saved that is not finite."""
    errors = [line for line in said.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1, said
    assert 'Traceback' not in said
    for path in folder.glob('*.pth'):
        content = torch.load(path, weights_only=path.name.startswith('nonfinite'))
        if path.name.startswith('nonfinite'):
            assert len(content['pictures']) == len(content['batch']['inputs'])
            assert content['lr']
        else:
            assert not find_nonfinite([content[key] for key in ('state_dict', 'optimizer') if key in content])
    return errors[0]


@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('config', [(kind, POISON) for kind in ('SSD', 'Faster R-CNN', 'classifier')], indirect=True)
def test_a_poisoned_batch(command, config, processes, tmp_path):
    words = ('train.py', config, '--work-dir', tmp_path / 'work')
    if processes == 1:
        said = command(*words, status=1)
    else:
        started = command.start_ranks(*words)
        assert all([command.ask(pid) for pid, _ in started])
        said = next(path.read_text() for _, path in started if 'error: ' in path.read_text())
    error = check(tmp_path / 'work', said)
    assert re.search(r'the loss is nan in iteration 1, epoch 1, at a learning rate of \S+, of pictures \S+', error)
    assert list((tmp_path / 'work').glob('nonfinite_1*.pth'))


@pytest.mark.parametrize(
    'config',
    [
        ('SSD', 'optim_wrapper = dict(optimizer=dict(lr=1e20))'),
        ('classifier', 'optim_wrapper = dict(optimizer=dict(lr=1e6))'),
    ],
    indirect=True,
)
def test_a_learning_rate_that_is_far_too_high(command, config, tmp_path):
    said = command('train.py', config, '--work-dir', tmp_path / 'work', status=1)
    assert 'lower optim_wrapper.optimizer.lr' in check(tmp_path / 'work', said)


def test_weights_are_looked_at_before_they_are_saved(train, tmp_path):
    """The loss of the last iteration was finite; the step after it was not."""
    with pytest.raises(InputError, match=r'1 tensors are not finite after iteration 1 \(the first is weight\)'):
        train(optim_wrapper=dict(optimizer=dict(lr=float('inf'))), train_dataloader=dict(batch_size=4))
    assert not list((tmp_path / 'work').glob('*.pth'))


def test_masks_may_be_infinite(train, tmp_path):
    assert train(model=dict(mask=True)).model.mask.isinf().all()
    assert train(model=dict(mask=True), resume=True).epoch == 3
