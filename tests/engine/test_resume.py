"""A training that is stopped and resumed ends as one that was not, bit for bit."""


WORKERS = 'train_dataloader.update(num_workers=2, persistent_workers={})'


def test_an_epoch_boundary(command, small_detector, state, differences, tmp_path):
    config = small_detector(tmp_path / 'small.py')
    command('train.py', config, '--work-dir', tmp_path / 'whole')
    command('train.py', config, '--work-dir', tmp_path / 'again')
    whole = state(tmp_path / 'whole/epoch_4.pth')
    assert not differences(state(tmp_path / 'again/epoch_4.pth'), whole)
    assert differences(state(tmp_path / 'whole/epoch_3.pth'), whole)
