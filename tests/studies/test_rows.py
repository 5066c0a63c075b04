"""Rows of finished jobs: gathered from the jobs' files, and refused where they are of other settings."""

import json

import pandas as pd
import pytest

from menet_mm import InputError
from studies import rows
from studies.definition import Study, describe_options

STUDY = """
title = 'two'
metric = 'accuracy/top1'
seeds = [0, 1]
reference = 'a'
options = {'x': '{work_dir}/y'}
models = dict(a=dict(config='configs/a.py'), b=dict(config='configs/b.py', seeds=[0]))
"""
OTHERS = [
    (
        ('options = {', "options = {'lr': 2, "),
        "was run with 'configs/a.py x={work_dir}/y' but the study now says .*lr=2",
    ),
    (('configs/a.py', 'configs/c.py'), "was run with 'configs/a.py .*now says 'configs/c.py"),
]


@pytest.fixture
def load(tmp_path):
    """Write the study with a part of its text replaced, and load it."""

    def load(old: str = '', new: str = '', work_dir: str = 'work') -> Study:
        path = tmp_path / 'two.py'
        path.write_text(STUDY.replace(old, new) if old else STUDY)
        return Study.load(path, tmp_path / work_dir)

    return load


def row(job, **values) -> dict:
    return dict(model=job.model, seed=job.seed, config=job.config, options=job.settings, **values)


def test_results_are_added_to_the_rows_that_are_there(load, tmp_path):
    study, csv = load(), tmp_path / 'results/two.csv'
    assert rows.gather(study, csv).empty
    assert not csv.exists()
    first, second, third = study.jobs
    rows.write_result(third, row(third, threads=2))
    rows.gather(study, csv)
    rows.write_result(first, row(first, threads=2))
    rows.write_result(third, row(third, threads=3))  # its row was there and stays
    rows.gather(study, csv)
    assert csv.read_text().splitlines() == [
        'model,seed,config,options,threads',
        'a,0,configs/a.py,x={work_dir}/y,2',
        'b,0,configs/b.py,x={work_dir}/y,2',
    ]
    assert rows.pending(study, rows.read_rows(csv)) == [second]
    assert [path.name for path in csv.parent.iterdir()] == ['two.csv']


def test_jobs_are_in_the_order_of_their_seeds(load):
    study = load()
    nothing = pd.DataFrame(columns=['model', 'seed'])
    assert [job.key for job in rows.pending(study, nothing)] == [('a', 0), ('b', 0), ('a', 1)]
    assert [job.key for job in rows.pending(study, nothing, ['a'])] == [('a', 0), ('a', 1)]


@pytest.mark.parametrize(('change', 'message'), OTHERS)
def test_rows_and_results_of_other_settings_are_refused(load, tmp_path, change, message):
    csv = tmp_path / 'two.csv'
    study = load()
    rows.write_result(study.jobs[0], row(study.jobs[0]))
    with pytest.raises(InputError, match=message):
        rows.gather(load(*change), csv)
    assert not csv.exists()
    rows.gather(study, csv)
    with pytest.raises(InputError, match=message):
        rows.gather(load(*change, work_dir='elsewhere'), csv)
    rows.gather(load(work_dir='elsewhere'), csv)  # folders of the trainings do not matter


def test_the_order_of_settings_does_not_matter():
    assert describe_options(dict(b=1, a=2)) == describe_options(dict(a=2, b=1)) == 'a=2 b=1'


@pytest.mark.parametrize(('change', 'message'), OTHERS)
def test_a_training_that_was_begun_with_other_settings_is_not_continued(load, change, message):
    job = load().jobs[0]
    rows.claim(job)
    rows.claim(job)
    with pytest.raises(InputError, match=f'{message}.*: remove {job.work_dir}'):
        rows.claim(load(*change).jobs[0])


def test_progress_is_read_from_half_a_line(tmp_path):
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True)
    assert rows.read_progress(tmp_path) == 0
    lines = [json.dumps(dict(loss=1, epoch=3, iter=9)), json.dumps({'accuracy/top1': 5, 'step': 3}), '{"loss": 1, "ep']
    (folder / 'scalars.json').write_text('\n'.join(lines))
    assert rows.read_progress(tmp_path) == 3
