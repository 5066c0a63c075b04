import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from menet_mm import InputError
from studies import definition as studies

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


def results(**values: list[float]) -> pd.DataFrame:
    rows = [
        dict(model=model, seed=seed, top1=value, parameters=10, mmacs=1.5, minutes=2.0)
        for model, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def test_a_study_lists_its_jobs(tmp_path):
    path = tmp_path / 'two.py'
    path.write_text(STUDY)
    study = studies.Study.load(path, 'work')
    assert [job.key for job in study.jobs] == [('a', 0), ('a', 1), ('b', 0)]
    assert str(study.jobs[1].work_dir) == 'work/two/a_seed1'
    assert study.jobs[1].options['model.backbone.init_cfg.checkpoint'] == 'work/a_seed1/epoch_2.pth'
    assert study.jobs[1].options['randomness.seed'] == 1
    assert study.jobs[2].options['train_cfg.max_epochs'] == 3
    done = pd.DataFrame([dict(model='a', seed=0)])
    assert [job.key for job in studies.pending(study, done)] == [('b', 0), ('a', 1)]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ("title = 'x'", 'lacks metric, seeds, models, reference'),
        (STUDY.replace("config='configs/menet108_tiny100.py'", ''), 'lacks models.a.config'),
        (STUDY.replace("reference = 'a'", "reference = 'z'"), "the reference 'z' is none of a, b"),
    ],
)
def test_studies_that_cannot_work_are_explained(tmp_path, text, message):
    (tmp_path / 'wrong.py').write_text(text)
    with pytest.raises(InputError, match=message):
        studies.Study.load(tmp_path / 'wrong.py')
    with pytest.raises(InputError, match='no study'):
        studies.Study.load(tmp_path / 'none.py')


def test_studies_of_the_repository_name_configs_that_exist():
    from pathlib import Path

    from mmengine.config import Config

    for path in Path('studies/configs').glob('*.py'):
        for job in studies.Study.load(path).jobs:
            cfg = Config.fromfile(job.config)
            cfg.merge_from_dict(job.options)


def test_intervals_and_paired_differences():
    """By hand: the differences are 1, 2, 3, so their mean is 2, their deviation 1, and t(0.975, 2) is 4.3027."""
    summary = studies.summarize(results(a=[10, 20, 30], b=[11, 22, 33]), 'top1', 'a').set_index('model')
    assert summary['mean'].tolist() == [22, 20]
    assert summary.difference['b'] == pytest.approx(2)
    assert summary.difference_interval['b'] == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert summary.interval['a'] == pytest.approx(4.3027 * 10 / np.sqrt(3), abs=1e-3)
    assert np.isnan(summary.difference['a'])


def test_only_seeds_that_both_have_are_paired():
    summary = studies.summarize(results(a=[10, 20], b=[13]), 'top1', 'a').set_index('model')
    assert summary.difference['b'] == 3
    assert np.isnan(summary.difference_interval['b'])
    assert '| b | 1 | 13.000 | - | +3.000 | - | 10 | 1.5 | 2 |' in studies.to_markdown(summary.reset_index(), 'a')


@pytest.mark.parametrize(
    ('values', 'seen', 'why'),
    [
        (dict(a=[40, 41, 42]), None, 'not finished: the order of a, b'),
        (dict(a=[40, 41, 42], b=[20, 21, 22]), None, 'the weakest network, b, reaches 21.000%, below 25%'),
        (dict(a=[40, 41, 42], b=[38, 39.1, 40]), True, 'a - b = +1.967 ± 0.143 (as in the paper)'),
        (dict(a=[38, 39.1, 40], b=[40, 41, 42]), False, "a - b = -1.967 ± 0.143 (against the paper's order)"),
        (dict(a=[40, 41, 42], b=[38, 42, 41]), False, 'a - b = +0.667 ± 3.795 (the interval contains zero)'),
        (dict(a=[40], b=[38]), None, 'not finished: a and b have one seed in common'),
    ],
)
def test_what_is_said_about_the_order(values, seen, why):
    summary = studies.summarize(results(**values), 'top1', 'a')
    order = studies.read_order(summary, ['b'], 'a', floor=25, unit='%')
    assert order.seen is seen
    assert why in order.why


def test_rows_are_added_one_by_one(tmp_path):
    path = tmp_path / 'results' / 'x.csv'
    studies.add_result(path, dict(model='b', seed=0, threads=2))
    studies.add_result(path, dict(model='a', seed=1, threads=2))
    assert path.read_text() == 'model,seed,threads\na,1,2\nb,0,2\n'


def test_rows_of_other_settings_are_refused(tmp_path):
    path = tmp_path / 'two.py'
    path.write_text(STUDY)
    study = studies.Study.load(path)
    rows = pd.DataFrame([dict(model=j.model, seed=j.seed, config=j.config, options=j.settings) for j in study.jobs])
    path.write_text(STUDY.replace('options = {', "options = {'train_cfg.val_interval': 2, "))
    with pytest.raises(InputError, match='a, seed 0 was run with .* but the study now says .*val_interval=2'):
        studies.check_rows(studies.Study.load(path), rows)
    path.write_text(STUDY.replace('menet108_tiny100', 'menet228_in1k'))
    with pytest.raises(
        InputError, match="a, seed 0 was run with 'configs/menet108_tiny100.py .*now says 'configs/menet228"
    ):
        studies.check_rows(studies.Study.load(path), rows)
    # Folders of the trainings do not matter.
    path.write_text(STUDY)
    studies.check_rows(studies.Study.load(path, 'elsewhere'), rows)
    # The order of settings does not matter.
    assert studies.describe_options(dict(b=1, a=2)) == studies.describe_options(dict(a=2, b=1)) == 'a=2 b=1'


def test_a_training_that_was_begun_otherwise_is_not_gone_on_with(tmp_path):
    path = tmp_path / 'two.py'
    path.write_text(STUDY)
    job = studies.Study.load(path, tmp_path).jobs[0]
    job.work_dir.mkdir(parents=True)
    studies.claim(job)
    studies.claim(job)
    path.write_text(STUDY.replace('options = {', "options = {'optim_wrapper.optimizer.lr': 2, "))
    with pytest.raises(InputError, match=f'but the study now says .*lr=2.*: remove {job.work_dir}'):
        studies.claim(studies.Study.load(path, tmp_path).jobs[0])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'configs/menet108': 'configs/menet999'}, 'no config configs/menet999_tiny100.py'),
        ({"'accuracy/top1'": "'mAP'"}, "metric 'mAP' does not fit configs/menet108_tiny100.py"),
        ({'menet108_tiny100': 'ssd_menet108_voc', 'accuracy/top1': 'mAP'}, 'needs classes to average over'),
        (
            {
                'menet108_tiny100': 'ssd_menet108_voc',
                'accuracy/top1': 'mAP',
                'title =': "classes = ['cat', 'unicorn']; title =",
            },
            'of aeroplane, .*; it has cat, unicorn',
        ),
        ({}, "no work/studies/a_seed0/epoch_2.pth, from which 'a', seed 0 starts"),
    ],
)
def test_what_would_fail_after_hours_fails_before(tmp_path, changes, message):
    path = tmp_path / 'two.py'
    text = STUDY
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    study = studies.Study.load(path, 'work/studies')
    with pytest.raises(InputError, match=message):
        studies.check(study, study.jobs[:1])


def test_progress_is_read_from_half_a_line(tmp_path):
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True)
    assert studies.read_progress(tmp_path) == 0
    lines = [json.dumps(dict(loss=1, epoch=3, iter=9)), json.dumps({'accuracy/top1': 5, 'step': 3}), '{"loss": 1, "ep']
    (folder / 'scalars.json').write_text('\n'.join(lines))
    assert studies.read_progress(tmp_path) == 3


def test_two_runners_lose_no_row(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: studies.add_result(tmp_path / 'x.csv', dict(model='a', seed=i)), range(24)))
    assert studies.read_results(tmp_path / 'x.csv').seed.tolist() == list(range(24))


def test_the_plot_is_a_picture(tmp_path):
    summary = studies.summarize(results(a=[40, 41], b=[38]), 'top1', 'a')
    studies.plot(summary, tmp_path / 'x.png', 'top1', paper={'MENet': (38.3, 56.1)})
    assert (tmp_path / 'x.png').read_bytes()[:4] == b'\x89PNG'
