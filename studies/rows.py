"""Results of jobs: each writes a file of its own, and a study's CSV file is gathered from these files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from menet_mm.errors import InputError
from menet_mm.utils.files import atomic_path, write_text
from studies.definition import Job, Study


def read_rows(path: Path) -> pd.DataFrame:
    """Read a study's CSV file; no rows if it is not there yet."""
    return pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=['model', 'seed'])


def gather(study: Study, path: Path) -> pd.DataFrame:
    """Add the results of finished jobs to a study's CSV file. Rows that are there stay as they are.

    Raises:
        InputError: if a row or a result was made with another config or other settings than the study has now.
    """
    table = read_rows(path)
    files = [job.work_dir / 'result.json' for job in study.jobs if job.key not in finished(table)]
    new = [json.loads(file.read_text()) for file in files if file.is_file()]
    rows = pd.DataFrame([*table.to_dict('records'), *new]) if new else table
    _check_settings(study, rows)
    if new:
        with atomic_path(path) as partial:
            rows.sort_values(['model', 'seed'], ignore_index=True).to_csv(partial, index=False)
    return rows


def write_result(job: Job, row: dict) -> None:
    """Write the row of a finished job into its work dir."""
    write_text(job.work_dir / 'result.json', json.dumps(row, indent=1))


def finished(rows: pd.DataFrame) -> set[tuple[str, int]]:
    """Model and seed of the jobs that have a row."""
    return set(zip(rows.model, rows.seed, strict=True))


def pending(study: Study, rows: pd.DataFrame, models: Iterable[str] | None = None) -> list[Job]:
    """Jobs without a row, in the order of the seeds, so that each seed is complete as early as possible.

    Args:
        study: the study.
        rows: of its finished jobs.
        models: only these of its models; all of them by default.
    """
    chosen, done = set(models or study.models), finished(rows)
    jobs = [job for job in study.jobs if job.model in chosen and job.key not in done]
    return sorted(jobs, key=lambda job: job.seed)


def claim(job: Job) -> None:
    """Note in a job's work dir what it is trained with, so that a training never goes on with something else.

    Raises:
        InputError: if it was begun with another config or other settings.
    """
    note, wanted = job.work_dir / 'job.json', [job.config, job.settings]
    if not note.is_file():
        write_text(note, json.dumps(wanted))
    have = json.loads(note.read_text())
    if have != wanted:
        raise InputError(_changed(job, have, f'remove {job.work_dir}'))


def _check_settings(study: Study, rows: pd.DataFrame) -> None:
    jobs = {job.key: job for job in study.jobs}
    for row in rows.to_dict('records'):
        job = jobs.get((row['model'], row['seed']))
        have = [row['config'], row['options'] if isinstance(row['options'], str) else '']  # pandas reads '' as NaN
        if job and have != [job.config, job.settings]:
            raise InputError(_changed(job, have, f'remove its row, if it has one, and {job.work_dir}'))


def _changed(job: Job, have: list[str], advice: str) -> str:
    before, now = ' '.join(filter(None, have)), ' '.join(filter(None, [job.config, job.settings]))
    return (
        f"{job.model}, seed {job.seed} was run with '{before}' but the study now says '{now}': {advice}, "
        'or give the study another name'
    )


def read_progress(work_dir: Path) -> float:
    """Read from mmengine's log how many epochs of a training are done."""
    done = 0.0
    for record in read_log(work_dir):
        # A training record has the epoch that is under way, a validation's the step that is done.
        done = max(done, record['epoch'] - 1 if 'epoch' in record else record.get('step', 0))
    return done


def read_log(work_dir: Path) -> list[dict]:
    """Read the records of mmengine's logs; half a line, which a killed training may leave, is left out."""
    records = []
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    return records
