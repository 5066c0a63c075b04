"""The commands that tools/new_project.py prints work without an edit, on sets as people bring them."""

import json
import re
import shlex
from pathlib import Path

import pytest

NAMES = ["o'clock", 'traffic light', 'été', '猫']
SHORT = ['train_cfg.val_interval=2', 'param_scheduler.0.end=1', 'train_dataloader.batch_size=4']
WITHOUT_WORKERS = [f'{split}_dataloader.num_workers=0' for split in ('train', 'val', 'test')]
WITHOUT_WORKERS += [f'{split}_dataloader.persistent_workers=False' for split in ('train', 'val', 'test')]


@pytest.fixture
def project(command, labelled_sets, tmp_path, request):
    """Write a project; returns the commands that are printed: a tool's name and its arguments."""

    def write(name: str) -> list[list[str]]:
        said = command('new_project.py', labelled_sets / name, '--out', tmp_path / f'my {name}')
        said = re.sub(r'\$\(cat \S+/last_checkpoint\)', 'epoch_1.pth', said)
        words = [shlex.split(line)[1:] for line in said.splitlines() if line.startswith('  python ')]
        return [[Path(tool).name, *arguments] for tool, *arguments in words]

    return write


def train_briefly(command, train: list[str], test: list[str], options: list[str]) -> Path:
    """Train one epoch instead of all; returns the checkpoint that the test takes."""
    checkpoint = command.folder / test[2]
    command(*train, '--cfg-options', 'train_cfg.max_epochs=1', *SHORT, *options)
    assert checkpoint.with_name('last_checkpoint').read_text() == checkpoint.name
    return checkpoint


@pytest.mark.slow
@pytest.mark.export
def test_a_detector_trains_tests_reports_exports_and_infers_without_an_edit(command, project, labelled_sets, tmp_path):
    train, test, export, report, infer = project('yolo')
    checkpoint = train_briefly(command, train, test, WITHOUT_WORKERS)
    command(*test)
    assert 'traffic light' in command(*report)
    assert 'differ from PyTorch by up to' in command(*export)
    pictures, found = next((labelled_sets / 'yolo').rglob('*.jpg')).parent, tmp_path / 'found.json'
    assert '0 skipped' in command(*(pictures if word == 'PICTURES' else word for word in infer))
    command('infer.py', pictures, '--config', train[1], '--weights', checkpoint, '--json', found)
    results = json.loads(found.read_text())
    assert list(results['classes']) == NAMES
    assert not results['skipped']


@pytest.mark.slow
@pytest.mark.export
def test_a_classifier_of_folders_trains_tests_and_exports(command, project):
    train, test, export, *_ = project('folders')
    train_briefly(command, train, test, WITHOUT_WORKERS)
    assert 'accuracy/top1' in command(*test)
    assert 'differ from PyTorch by up to' in command(*export)
    described = json.loads((command.folder / f'{export[-1]}.json').read_text())
    assert described['classes'] == NAMES


@pytest.mark.slow
def test_poor_coco_trains_with_workers_and_is_measured_by_cocos_metric(command, project, tmp_path):
    train, test, *_ = project('coco')
    checkpoint = train_briefly(command, train, test, [])
    metric = "test_evaluator = dict(_delete_=True, _scope_='mmdet', type='CocoMetric', metric='bbox')"
    (tmp_path / 'coco.py').write_text(f'_base_ = {train[1]!r}\n{metric}\n')
    said = command('test.py', tmp_path / 'coco.py', checkpoint)
    assert 'coco/bbox_mAP_50' in said


@pytest.mark.slow
def test_a_project_trains_in_two_processes_and_goes_on(command, project):
    train, test, *_ = project('single')
    folder = (command.folder / test[2]).parent
    for more in ([], ['--resume']):
        options = ['--cfg-options', 'train_cfg.max_epochs=2', *SHORT, *WITHOUT_WORKERS]
        started = command.start_ranks(*train, *more, *options)
        assert [command.wait(rank) for rank in started] == [0, 0], started[0][1].read_text()
        if not more:  # as if it had been killed after the first epoch
            (folder / 'epoch_2.pth').unlink()
            (folder / 'last_checkpoint').write_text('epoch_1.pth')
    assert 'Epoch(train) [1]' not in started[0][1].read_text()
    assert (folder / 'epoch_2.pth').is_file()
