"""Study files: what they say, and their mistakes."""

from pathlib import Path

import pytest

from menet_mm import InputError
from studies import definition
from studies.definition import Study
from studies.rows import pending, read_rows

STUDY = """
title = 'two'
metric = 'accuracy/top1'
seeds = [0, 1]
reference = 'a'
options = {'model.backbone.init_cfg.checkpoint': '{work_dir}/{model}_seed{seed}/epoch_2.pth'}
models = dict(
    a=dict(config='configs/menet108_tiny100.py'),
    b=dict(config='configs/mobilenet025_tiny100.py', options={'train_cfg.max_epochs': 3}, seeds=[0]),
)
"""
DETECTOR = {'menet108_tiny100': 'ssd_menet108_voc', 'accuracy/top1': 'mAP'}


@pytest.fixture
def write(tmp_path):
    """Write a study file with parts of its text replaced."""

    def write(changes: dict[str, str], text: str = STUDY) -> Path:
        for old, new in changes.items():
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / 'two.py'
        path.write_text(text)
        return path

    return write


def test_a_study_lists_its_jobs(write):
    study = Study.load(write({}), 'work')
    assert [job.key for job in study.jobs] == [('a', 0), ('a', 1), ('b', 0)]
    assert str(study.jobs[1].work_dir) == 'work/two/a_seed1'
    assert study.jobs[1].options['model.backbone.init_cfg.checkpoint'] == 'work/a_seed1/epoch_2.pth'
    assert study.jobs[1].options['randomness.seed'] == 1
    assert study.jobs[2].options['train_cfg.max_epochs'] == 3
    assert study.models == ['a', 'b']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({STUDY: "title = 'x'"}, 'lacks metric, seeds, models, reference'),
        ({"config='configs/menet108_tiny100.py'": ''}, 'lacks models.a.config'),
        ({"reference = 'a'": "reference = 'aa'"}, "the reference is 'aa': is 'a' meant"),
        ({'metric =': 'metirc ='}, "has 'metirc' but no 'metric'"),
        ({'options = {': 'option = {'}, "has 'option' but no 'options'"),
        ({'seeds = [0, 1]': 'seeds = [0, 1]; flor = 25.0'}, "has 'flor' but no 'floor'"),
        ({'seeds=[0]': 'seed=[0]'}, "models.b has 'seed': is 'seeds' meant"),
        ({'seeds = [0, 1]': 'seeds = 3'}, 'seeds must be a list of whole numbers'),
        ({'{seed}': '{sed}'}, "no other braces: 'sed'"),
        ({"title = 'two'": "title = 'two"}, 'cannot be read as a config'),
    ],
)
def test_mistakes_in_a_study_file(write, changes, message):
    with pytest.raises(InputError, match=message):
        Study.load(write(changes))


def test_a_file_that_is_not_there():
    with pytest.raises(InputError, match='no study none.py: give a file'):
        Study.load('none.py')


@pytest.mark.parametrize('path', sorted(Path('studies/configs').glob('*.py')), ids=lambda path: path.stem)
def test_studies_of_the_repository_fit_their_configs_and_their_rows(path):
    study = Study.load(path)
    made = {Path(job.options.get('model.backbone.init_cfg.checkpoint', '')).parent for job in study.jobs}
    made.add(Path('work_dirs/weights'))  # converted by whoever runs the study
    first = {job.model: job for job in reversed(study.jobs)}.values()
    definition.check(study, first, made)
    rows = read_rows(Path(f'studies/results/{study.name}.csv'))
    assert {job.key for job in study.jobs} - {job.key for job in pending(study, rows)}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'accuracy/top1': 'acuracy/top1'}, "metric of the study two, 'acuracy/top1': is 'accuracy/top1' meant"),
        ({'accuracy/top1': 'accuracy/top3'}, 'choose of accuracy/top1, accuracy/top5'),
        ({'accuracy/top1': 'mAP'}, "'mAP': choose of accuracy/top1"),
        ({**DETECTOR, 'accuracy/top1': 'MAP'}, "'MAP': is 'mAP' meant"),
        ({'configs/menet108': 'configs/menet999'}, "model 'a' do not fit: no config configs/menet999_tiny100.py"),
        ({'options = {': "options = {'test_pipeline.9.x': 1, "}, "config and options of model 'a' do not fit"),
        ({'options = {': "options = {'test_evaluator.topk': [1, 500], "}, 'test_evaluator .* cannot work: Top-500'),
        (DETECTOR, 'needs classes to average over'),
        ({**DETECTOR, 'title =': "classes = ['cat', 'hors']; title ="}, "has the class 'hors': is 'horse' meant"),
        ({}, "no work/studies/a_seed0/epoch_2.pth, from which 'a', seed 0 starts"),
    ],
)
def test_what_would_fail_after_hours_fails_before(write, changes, message):
    study = Study.load(write(changes), 'work/studies')
    with pytest.raises(InputError, match=message):
        definition.check(study, study.jobs[:1])


def test_weights_that_an_earlier_job_makes_need_not_be_there_yet(write):
    study = Study.load(write({}), 'work/studies')
    definition.check(study, study.jobs[:1], {Path('work/studies/a_seed0')})


@pytest.mark.parametrize(
    ('option', 'right'), [("'model.bacbone.arch': 1", 'backbone'), ("'train_cfg.max_epoch': 2", 'max_epochs')]
)
def test_misspelt_options_are_found_before(write, option, right):
    study = Study.load(write({'options = {': f'options = {{{option}, '}))
    with pytest.raises(InputError, match=right):
        definition.check(study, study.jobs[:1])


def test_metrics_are_named_as_the_library_names_them(write):
    options = "options = {'test_evaluator.type': 'SingleLabelMetric', 'test_evaluator._delete_': True, "
    study = Study.load(write({'options = {': options}))
    assert 'single-label/precision' in definition.metric_names(study.jobs[0].read_config())
