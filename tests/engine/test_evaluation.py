"""An evaluation counts every picture once, in one process and in two; two processes learn what one learns."""

import re
import shutil

import pytest
import torch

pytestmark = pytest.mark.slow  # whole command lines

COCO = """
val_dataloader['dataset'].update(type='CocoDataset', ann_file='annotations/test.json', data_prefix=dict(img='VOC2007/JPEGImages/'))
val_evaluator = dict(
    _delete_=True, _scope_='mmdet', type='CocoMetric', ann_file=data['data_root'] + 'annotations/test.json', metric='bbox'
)
test_evaluator = val_evaluator
default_hooks['checkpoint'] = dict(save_best='coco/bbox_mAP')
"""
ODD = "val_dataloader['dataset'].update(indices=5)\nval_dataloader['batch_size'] = 2\n"
SHORT = 'train_cfg.update(max_epochs=1, val_interval=1)\n'


def finish(command, started):
    ended = [command.wait(one) for one in started]
    assert ended == [0, 0], ''.join(path.read_text() for _, path in started)
    return started[0][1].read_text()


@pytest.mark.parametrize(
    ('kind', 'more', 'metrics'),
    [
        ('detector', ODD, r'pascal_voc/mAP: (\S+)'),
        ('detector', COCO, r'coco/bbox_mAP: (\S+)'),
        ('classifier', ODD, r'accuracy/top1: (\S+)'),
    ],
    ids=['mAP', 'COCO', 'accuracy'],
)
def test_two_processes_count_no_picture_twice(command, small_detector, small_classifier, tmp_path, kind, more, metrics):
    config = dict(detector=small_detector, classifier=small_classifier)[kind](tmp_path / 'small.py', SHORT + more)
    command('train.py', config, '--work-dir', tmp_path / 'work')
    arguments = ('test.py', config, tmp_path / 'work/epoch_1.pth', '--work-dir', tmp_path)
    one = command(*arguments, '--out', tmp_path / 'one.pkl')
    two = finish(command, command.start_ranks(*arguments, '--out', tmp_path / 'two.pkl'))
    assert re.findall(metrics, one)[-1] == re.findall(metrics, two)[-1]
    found = [torch.load(tmp_path / f'{name}.pkl', weights_only=True) for name in ('one', 'two')]
    assert len(found[0]) == len(found[1]) == (6 if more == COCO else 5)
    assert [one['img_path'] for one in found[0]] == [two['img_path'] for two in found[1]]


@pytest.mark.parametrize('listed', ['test', 'trainval'])
def test_a_picture_that_stands_twice(command, small_detector, shapes, tmp_path, listed):
    """Refused where it would count twice; said where it is trained on twice, or trained and tested on."""
    data = shutil.copytree(shapes, tmp_path / 'set')
    path = data / f'VOC2007/ImageSets/Main/{listed}.txt'
    path.write_text(path.read_text() + path.read_text().split()[0] + '\n')
    config = small_detector(tmp_path / 'small.py', SHORT)
    config.write_text(config.read_text().replace(f'{shapes}/', f'{data}/'))
    words = ('train.py', config, '--work-dir', tmp_path / 'work')
    if listed == 'test':
        said = command(*words, status=1)
        assert re.match(
            r'error: 1 pictures stand more than once in the val set \(the first is \S+', said.splitlines()[-1]
        )
        return
    assert '1 pictures stand more than once in the train set' in command(*words)
    config.write_text(
        config.read_text() + "val_dataloader['dataset'].update(ann_file='VOC2007/ImageSets/Main/trainval.txt')\n"
    )
    config.write_text(config.read_text() + "val_dataloader['dataset'].update(indices=3)\n")
    assert 'are in the train set and in the val set' in command('train.py', config, '--work-dir', tmp_path / 'other')


#: A config, and lines that make its norm layers independent of the other pictures of a batch.
ALONE = dict(
    classifier="model['backbone'].update(norm_eval=True)\n",
    detector=(
        "for part in ('backbone', 'neck', 'bbox_head'):\n    model[part]['norm_cfg'] = dict(type='GN', num_groups=2)\ndel part\n"
    ),
)


@pytest.mark.parametrize('kind', ALONE)
def test_two_processes_learn_what_one_learns(command, small_detector, small_classifier, state, tmp_path, kind):
    """Twenty iterations of half the batch each: the same pictures, drawn in the same way, and gradients of their mean."""
    write, more = dict(detector=small_detector, classifier=small_classifier)[kind], ALONE[kind]
    more += 'train_cfg.update(max_epochs=10, val_interval=10)\n'
    one, two = (write(tmp_path / f'{size}.py', f"{more}train_dataloader['batch_size'] = {size}\n") for size in (6, 3))
    command('train.py', one, '--work-dir', tmp_path / 'one')
    finish(command, command.start_ranks('train.py', two, '--work-dir', tmp_path / 'two'))
    expected, found = (state(tmp_path / name / 'epoch_10.pth')['state_dict'] for name in ('one', 'two'))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
