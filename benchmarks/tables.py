"""Print results as Markdown tables, and refresh the tables of the documentation: ``python -m benchmarks.tables``.

In a page, a table stands between ``<!-- table of FILE.csv -->`` and ``<!-- end -->``. FILE is one of benchmarks/results.
Conditions behind it choose rows, such as ``<!-- table of one_thread.csv runtime=onnxruntime,torch form=deploy -->``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'benchmarks/results'
#: A comment within a line is only talk about tables.
START = re.compile(r'^<!-- table of ', re.MULTILINE)
TABLE = re.compile(r'^(<!-- table of (\S+)((?: \w+=\S+)*) -->)\n.*?^<!-- end -->', re.DOTALL | re.MULTILINE)


def to_markdown(path: Path, conditions: Sequence[str] = ()) -> str:
    """Make a table of a CSV file that ``python -m benchmarks`` wrote, with a line on what it was measured on.

    Args:
        path: the file.
        conditions: such as ``runtime=onnxruntime,torch``: the rows whose ``runtime`` is one of these.

    Raises:
        InputError: if there is no such file, it has no such column, or no row is left.
    """
    if not path.is_file():
        raise InputError(f'no file {path}: measure it with python -m benchmarks --out {path}')
    all_rows = rows = pd.read_csv(path, keep_default_na=False)
    for condition in conditions:
        column, _, values = condition.partition('=')
        if column not in rows:
            raise InputError(f'{path.name} has no column {column}: choose one of {", ".join(rows)}')
        rows = rows[rows[column].astype(str).isin(values.split(','))]
    if rows.empty:
        raise InputError(f'{path.name} has no row with {" and ".join(conditions) or "a measurement"}')
    forms = dict(pipeline=_pipelines, operators=_operators, what=_costs, video_fps=_videos)
    form = next((form for column, form in forms.items() if column in rows), _networks)
    lines = form(rows)
    return '\n'.join([*lines, '', _stamp(all_rows)])


def refresh(page: str, results: Path = RESULTS) -> str:
    """Make the tables of a page anew from the CSV files that it names.

    Raises:
        InputError: as :func:`to_markdown`.
    """
    if len(START.findall(page)) != len(TABLE.findall(page)):
        raise InputError(
            'a comment of a table has another form than <!-- table of FILE.csv -->, or no <!-- end --> follows'
        )
    return TABLE.sub(
        lambda found: f'{found[1]}\n{to_markdown(results / found[2], found[3].split())}\n<!-- end -->', page
    )


def _pipelines(rows: pd.DataFrame) -> list[str]:
    lines = ['| pipeline | images/s of a worker (lowest to highest round) | ratio |', '|---|---|---|']
    lines += [
        f'| {row.pipeline} | {row.images_per_second:.0f} ({row.low:.0f} to {row.high:.0f}) | {row.ratio:.2f} |'
        for row in rows.itertuples()
    ]
    return lines


def _costs(rows: pd.DataFrame) -> list[str]:
    lines = ['| what | plain, ms | ours, ms | ratio |', '|---|---|---|---|']
    return lines + [f'| {r.what} | {r.plain_ms:.4g} | {r.ours_ms:.4g} | {r.ratio:.3f} |' for r in rows.itertuples()]


def _videos(rows: pd.DataFrame) -> list[str]:
    lines = ['| network | runtime | result | alone, frames/s | in a video | ratio |', '|---|---|---|---|---|---|']
    return lines + [
        f'| {r.network} | {r.runtime} | {r.result} | {r.alone_fps:.1f} | {r.video_fps:.1f} | {r.ratio:.2f} |'
        for r in rows.itertuples()
    ]


def _operators(rows: pd.DataFrame) -> list[str]:
    table = rows.pivot_table('operators', 'part', ['head', 'batch'], sort=False)
    names = [f'{head}, batch {batch}' for head, batch in table]
    lines = [f'| operators | {" | ".join(names)} |', '|---' * (len(names) + 1) + '|']
    return lines + [
        f'| {part} | {" | ".join(f"{count:,.0f}" for count in counts)} |' for part, *counts in table.itertuples()
    ]


def _networks(rows: pd.DataFrame) -> list[str]:
    lines = ['| network | of | runtime | form | ms (quartiles) | ratio |', '|---|---|---|---|---|---|']
    for row in rows.itertuples():
        form = row.form if row.precision == 'fp32' else f'{row.form}, {row.precision}'
        skip = getattr(row, 'skip', '')  # files of earlier versions have no such column
        form = f'{form} without {skip}' if skip else form
        time = f'{row.milliseconds:.2f} ({row.low:.2f} to {row.high:.2f})'
        lines.append(f'| {row.network} | {row.source} | {row.runtime} | {form} | {time} | {row.ratio:.2f} |')
    return lines


def _stamp(rows: pd.DataFrame) -> str:
    """What all rows of a file were measured on and are compared with."""
    first = rows.iloc[0]
    names = ('torch', 'onnxruntime', 'openvino', 'ncnn')
    libraries = ', '.join(f'{name} {first[name]}' for name in names if first.get(name))
    machine = (
        f'{first.cpu} with {first.vectors}, {first.cores} cores, Python {first.python}, {libraries}; {first.date}.'
    )
    if not {'pipeline', 'operators', 'what', 'video_fps'}.isdisjoint(rows):
        return machine
    whole = 'skip' in rows and any(rows['skip'])
    reference = 'the whole form' if whole else f'{first.network} of {first.source}, {first.runtime}, {first.form}'
    threads = f'{first.threads} thread{"s" if first.threads > 1 else ""}'
    rounds = f'medians of {first.rounds} rounds' if first.rounds > 1 else '1 round'
    return f'Ratios to {reference}; batch {first.batch}, {threads}, {rounds}; {machine}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0], prog='python -m benchmarks.tables')
    parser.add_argument(
        'files',
        nargs='*',
        type=Path,
        metavar='FILE',
        help='a .csv to print, or a .md whose tables to refresh; all pages in docs/ by default',
    )
    files = parser.parse_args().files or sorted((ROOT / 'docs').glob('*.md'))
    for path in files:
        if path.suffix not in ('.csv', '.md') or not path.is_file():
            raise InputError(f'no file {path}: give a .csv of measurements or a page in .md')
    for path in files:
        if path.suffix == '.csv':
            print(to_markdown(path))
            continue
        page = path.read_text(encoding='utf-8')
        if (anew := refresh(page)) != page:
            write_text(path, anew)
            print(f'{path}: refreshed')


if __name__ == '__main__':
    run(main)
