"""Run a study: train and test what is missing of its models and seeds, and write results, table and plot.

Every job goes through tools/train.py and tools/test.py in a process of its own. Start it again after an interruption: finished
jobs are not run again, the others go on from their last epoch. Run a study from one terminal only; --jobs runs several jobs.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import run

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='python -m studies', description=__doc__)
    parser.add_argument(
        'studies', nargs='+', metavar='STUDY', help='study file, such as studies/configs/tiny_imagenet_100.py'
    )
    parser.add_argument('--jobs', type=int, default=1, help='how many jobs run at once')
    parser.add_argument('--threads', type=int, help='threads of each job; the cores are divided by default')
    parser.add_argument('--models', nargs='+', metavar='MODEL', help='run only these models of each study')
    parser.add_argument('--limit', type=int, help='stop after this many jobs of each study')
    parser.add_argument(
        '--results', type=Path, default=Path('studies/results'), help='folder of the CSV, table and plot'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/studies'), help='folder of the trainings')
    parser.add_argument('--report-only', action='store_true', help='only write table and plot, from the CSV file')
    args = parser.parse_args()
    for name in ('jobs', 'threads', 'limit'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise InputError(f'--{name} must be at least 1, but it is {value}')
    return args


def main() -> None:
    args = parse_args()

    # All studies are read and checked before the first one runs for hours.
    from studies.definition import Study, check, check_choice

    studies = {path: Study.load(path, args.work_dir) for path in args.studies}
    for path, study in studies.items():
        for model in args.models or ():
            check_choice(model, study.models, f'{path} has no model')

    from studies import rows
    from studies.summary import to_markdown, write_report

    csvs = {path: args.results / f'{study.name}.csv' for path, study in studies.items()}
    waiting, made = {}, set()
    for path, study in studies.items():
        if args.report_only:
            continue
        waiting[path] = rows.pending(study, rows.gather(study, csvs[path]), args.models)[: args.limit]
        check(study, waiting[path], made)
        made |= {job.work_dir for job in waiting[path]}

    failures = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that trainings are ended
    for path, study in studies.items():
        if waiting.get(path):
            from studies.runner import run_jobs

            failures += run_jobs(study, waiting[path], csvs[path], TOOLS, args.jobs, args.threads)
        results = rows.read_rows(csvs[path])
        if results.empty:
            failures.append(f'{csvs[path]} has no results: run `python -m studies {path}` first')
            continue
        summary = write_report(study, results, args.results)
        print(to_markdown(summary, study.reference))
        print(f'\nrows: {csvs[path]}\ntable: {args.results / study.name}.md\nplot: {args.results / study.name}.png')
    if failures:
        raise InputError('; '.join(failures))


if __name__ == '__main__':
    run(main)
