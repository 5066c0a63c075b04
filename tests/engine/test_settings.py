"""A training that is resumed under other settings: they take effect, or it is refused; never silence."""

import pytest

from menet_mm import InputError


def rate(runner):
    return runner.optim_wrapper.param_groups[0]['lr']


def said(folder):
    return ''.join(path.read_text() for path in sorted(folder.glob('*/*.log')))


@pytest.mark.parametrize(
    ('change', 'line'),
    [
        (dict(epochs=6), 'train_cfg.max_epochs: 3 -> 6, for the schedule from its start'),
        (dict(epochs=6, optim_wrapper=dict(optimizer=dict(lr=0.3))), 'optim_wrapper.optimizer.lr: 0.1 -> 0.3'),
        (dict(epochs=6, train_dataloader=dict(batch_size=1)), 'train_dataloader.batch_size: 2 -> 1'),
        (dict(epochs=6, param_scheduler=dict(eta_min=0.05)), 'param_scheduler.eta_min: 0.001 -> 0.05'),
        (dict(epochs=6, param_scheduler=dict(convert_to_iter_based=True)), 'convert_to_iter_based: None -> True'),
        (dict(epochs=6, optim_wrapper=dict(optimizer=dict(weight_decay=0.1))), 'weight_decay: None -> 0.1'),
    ],
    ids=['longer', 'rate', 'batch', 'schedule', 'by iteration', 'decay'],
)
def test_rates_are_those_of_a_training_that_had_them_from_the_start(train, tmp_path, change, line):
    train()
    resumed = train(resume=True, **change)
    whole = train('whole', **change)
    assert rate(resumed) == rate(whole)
    assert resumed.iter == whole.iter
    group = whole.optim_wrapper.param_groups[0]
    assert {key: value for key, value in resumed.optim_wrapper.param_groups[0].items() if key != 'params'} == {
        key: value for key, value in group.items() if key != 'params'
    }
    assert line in said(tmp_path / 'work')


def test_nothing_is_said_of_what_did_not_change(train, tmp_path):
    train(work_dir='work')
    train(resume=True)
    assert 'Settings that differ' not in said(tmp_path / 'work')


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (dict(randomness=dict(seed=2)), 'cannot go on with another seed: randomness.seed is 2, but was 1'),
        (
            dict(optim_wrapper=dict(optimizer=dict(_delete_=True, type='Adam', lr=0.1))),
            'cannot go on with another optimizer: optim_wrapper.optimizer.type is Adam, but was SGD',
        ),
    ],
    ids=['seed', 'optimizer'],
)
def test_what_cannot_take_effect_is_refused(train, change, expected):
    train()
    with pytest.raises(InputError, match=expected):
        train(resume=True, epochs=4, **change)


def test_a_seed_that_is_not_given_is_that_of_the_checkpoint(train, state, differences, tmp_path):
    train(randomness=dict(seed=None))
    again = train(resume=True, epochs=6, randomness=dict(seed=None))
    train('named', randomness=dict(seed=again.seed))
    train('named', resume=True, epochs=6, randomness=dict(seed=again.seed))
    assert not differences(state(tmp_path / 'work/epoch_6.pth'), state(tmp_path / 'named/epoch_6.pth'))
