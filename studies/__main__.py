"""Run a study: train and test what is missing of its models and seeds, and write results, table and plot.

Every job goes through tools/train.py and tools/test.py in a process of its own. Start it again after an interruption: finished
jobs are rows of the study's CSV file and are not run again, the others go on from their last epoch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import run

TOOLS = Path(__file__).resolve().parents[1] / 'tools'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        'studies', nargs='+', metavar='STUDY', help='study file, such as studies/configs/tiny_imagenet_100.py'
    )
    parser.add_argument('--jobs', type=int, default=1, help='how many jobs run at once')
    parser.add_argument('--threads', type=int, help='threads of each job; the cores shared out by default')
    parser.add_argument('--models', nargs='+', metavar='MODEL', help='run only these models of each study')
    parser.add_argument('--limit', type=int, help='stop after this many jobs of each study')
    parser.add_argument(
        '--results', type=Path, default=Path('studies/results'), help='folder of the CSV, table and plot'
    )
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/studies'), help='folder of the trainings')
    parser.add_argument('--report-only', action='store_true', help='only write table and plot, from the CSV file')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if min(args.jobs, args.threads or 1, args.limit or 1) < 1:
        raise InputError('--jobs, --threads and --limit must be at least 1')

    from studies import definition as studies
    from studies.runner import run_jobs

    # All are read before the first one runs for hours.
    loaded = {path: studies.Study.load(path, args.work_dir) for path in args.studies}
    for path, study in loaded.items():
        names = dict.fromkeys(job.model for job in study.jobs)
        for model in args.models or ():
            if model not in names:
                raise InputError(f"{path} has no model '{model}': choose of {', '.join(names)}")
    for path, study in loaded.items():
        csv = args.results / f'{study.name}.csv'
        if not args.report_only:
            run_jobs(study, csv, TOOLS, args.models, args.jobs, args.threads, args.limit)
        results = studies.read_results(csv)
        if study.metric not in results:
            raise InputError(f'{csv} has no results: run `python -m studies {path}` first')
        summary = studies.write_report(study, results, args.results)
        print(studies.to_markdown(summary, study.reference))
        print(f'\nrows: {csv}\ntable: {args.results / study.name}.md\nplot: {args.results / study.name}.png')


if __name__ == '__main__':
    run(main)
