"""The runner, with stand-ins for tools/train.py and tools/test.py that take no time."""

import pandas as pd
import pytest

from studies.definition import Study
from studies.rows import claim, gather, pending
from studies.runner import run_jobs

TRAIN = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
with (folder / 'trained').open('a') as file:
    file.write(' '.join(sys.argv[1:]))
(folder / 'last_checkpoint').write_text(str(folder / 'epoch_6.pth'))
log = folder / 'run/vis_data/scalars.json'
log.parent.mkdir(parents=True)
log.write_text(json.dumps(dict(loss=1.0, iter=36, epoch=6, time=5.0)))
"""
TEST = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index('--out') + 1])
out.write_text(json.dumps({'accuracy/top1': 61.5, 'accuracy/top5': 80.0}))
"""


@pytest.fixture
def run(small_study, tmp_path):
    """Run what is missing of the small study with stand-ins for the tools; returns failures and rows."""

    def run(train: str = TRAIN, test: str = TEST, at_once: int = 1) -> tuple[list[str], pd.DataFrame]:
        tools, csv = tmp_path / 'tools', tmp_path / 'results.csv'
        tools.mkdir(exist_ok=True)
        (tools / 'train.py').write_text(train)
        (tools / 'test.py').write_text(test)
        study = Study.load(small_study, tmp_path / 'work')
        failures = run_jobs(study, pending(study, gather(study, csv)), csv, tools, at_once, threads=1)
        return failures, gather(study, csv)

    return run


def broken_for(model: str, answer: str) -> str:
    """A stand-in for test.py that does something else for one model."""
    return f'import sys\nif "{model}_seed" in " ".join(sys.argv):\n    {answer}\n{TEST}'


def test_each_job_becomes_a_row_with_what_it_was_measured_on(run, tmp_path):
    failures, rows = run(at_once=2)
    assert not failures
    assert rows.model.tolist() == ['menet', 'no_side_path']
    assert rows['accuracy/top1'].tolist() == [61.5, 61.5]
    assert rows.minutes.tolist() == [3, 3]  # 36 iterations of 5 s
    assert rows.parameters[0] - rows.parameters[1] == 654_516 - 627_292
    assert rows.input.tolist() == ['64x64', '64x64']
    assert {'device', 'threads', 'torch', 'python', 'vectors', 'menet_mm', 'date'} <= set(rows.columns)
    assert (tmp_path / 'work/small/menet_seed0/result.json').is_file()
    assert '--resume' in (tmp_path / 'work/small/menet_seed0/trained').read_text()


def test_a_result_without_the_metric_fails_alone(run):
    other = 'pathlib = __import__("pathlib"); out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1]); '
    other += """out.write_text('{"accuracy/top5": 80.0}'); sys.exit()"""
    failures, rows = run(test=broken_for('menet', other))
    assert len(failures) == 1
    assert "menet, seed 0 has no metric 'accuracy/top1'" in failures[0]
    assert rows.model.tolist() == ['no_side_path']


def test_a_job_that_fails_is_run_again_without_a_second_training(run, tmp_path):
    failures, rows = run(test=broken_for('menet', 'sys.exit("no space left")'))
    folder = tmp_path / 'work/small/menet_seed0'
    assert failures == [f'menet, seed 0 failed: see {folder}/output.log']
    assert 'no space left' in (folder / 'output.log').read_text()
    assert rows.model.tolist() == ['no_side_path']
    before = (folder / 'trained').read_text()
    failures, rows = run()
    assert not failures
    assert rows.model.tolist() == ['menet', 'no_side_path']
    assert (folder / 'trained').read_text() == before


def test_a_training_of_other_settings_fails_alone_and_is_left_as_it_is(run, small_study, tmp_path):
    job = Study.load(small_study, tmp_path / 'work').jobs[0]
    claim(job)
    begun = (job.work_dir / 'job.json').read_text()
    text = small_study.read_text().replace('menet=dict(', "menet=dict(options={'optim_wrapper.optimizer.lr': 2}, ")
    small_study.write_text(text)
    failures, rows = run()
    assert len(failures) == 1
    assert f'remove {job.work_dir}' in failures[0]
    assert rows.model.tolist() == ['no_side_path']
    assert [path.name for path in job.work_dir.iterdir()] == ['job.json']
    assert (job.work_dir / 'job.json').read_text() == begun


def test_weights_that_are_not_there_when_a_job_starts_fail_alone(run, small_study):
    start = "menet=dict(options={'model.backbone.init_cfg.type': 'Pretrained', 'model.backbone.init_cfg.checkpoint': 'x.pth'}, "
    small_study.write_text(small_study.read_text().replace('menet=dict(', start))
    failures, rows = run()
    assert len(failures) == 1
    assert failures[0].startswith("no x.pth, from which 'menet', seed 0 starts")
    assert rows.model.tolist() == ['no_side_path']
