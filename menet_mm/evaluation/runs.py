"""What a work dir says of its run: config, log, seed, results by class. Nothing of it is trusted, so nothing of it is run."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from menet_mm.errors import InputError
from menet_mm.evaluation.curves import PLOTTED, read_log, training_rows
from menet_mm.evaluation.facts import read_environment, training_folders

LONGEST = 2_000_000  # bytes of a file that is read


class Table(NamedTuple):
    """A CSV file of a report: what it is, the column that counts, and what its last row is, that of the whole."""

    file: str
    title: str
    column: str
    whole: str


TABLES = (
    Table('ap_by_class.csv', 'AP at IoU 0.5 by class, test set', 'ap', 'mAP at IoU 0.5, test set'),
    Table('accuracy_by_class.csv', 'Accuracy by class, test set, %', 'accuracy', 'accuracy, test set, %'),
)


@dataclass
class Run:
    """A run.

    Attributes:
        name: of its work dir, as seen from the folder that all have in common.
        config: as it was dumped; None if there is none.
        log: of :func:`curves.read_log`; None if there is none.
        environment: of :func:`facts.read_environment`.
        counts: ``parameters`` and ``multiply-adds``, as text.
        by_class: results by class, by the file they are of (:data:`TABLES`); the last one is of the whole.
        notes: a sentence for each file that is missing.
    """

    name: str
    config: dict[str, Any] | None = None
    log: pd.DataFrame | None = None
    environment: dict[str, str] = field(default_factory=dict)
    counts: dict[str, str] = field(default_factory=dict)
    by_class: dict[str, pd.Series] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def seed(self) -> str | None:
        """The seed, as text: the config's, else that of the log."""
        randomness = (self.config or {}).get('randomness')
        seed = randomness.get('seed') if isinstance(randomness, dict) else None
        return self.environment.get('seed') if seed is None else str(seed)


def read_run(work_dir: Path, name: str) -> Run:
    """Read what is there of a run, and note what is not; ``InputError`` if there is no such folder."""
    if not work_dir.is_dir():
        raise InputError(f'{work_dir} is no folder: give the work dirs of trainings')
    run = Run(name, environment=read_environment(work_dir))
    try:
        run.log = read_log(work_dir)
    except InputError as error:
        run.notes.append(str(error))
    run.config = _read_config(work_dir)
    if run.log is not None and run.config is None:
        run.notes.append(f'no config of {work_dir} can be read (*/vis_data/config.py): it is a group of its own')
    advice = f'write it with `tools/report.py CONFIG PREDICTIONS --work-dir {work_dir}`'
    for table in TABLES:
        values = _read_table(work_dir / 'report' / table.file, table.column)
        if values is not None:
            run.by_class[table.file] = values
    if not run.by_class:
        run.notes.append(f'no results by class in {work_dir}/report: {advice}')
    else:
        run.counts = _read_counts(work_dir / 'report/facts.json')
        if not run.counts:
            run.notes.append(f'no number of parameters in {work_dir}/report/facts.json: {advice}')
    return run


def measure(run: Run) -> dict[str, float]:
    """The figures of a run: metrics of the validation, last and best, the last loss, and results of the test set as a whole."""
    figures = {table.whole: float(run.by_class[table.file].iloc[-1]) for table in TABLES if table.file in run.by_class}
    if run.log is not None:
        for name in run.log.columns:
            values = run.log[name].dropna() if name.startswith(PLOTTED) else ()
            if len(values):
                figures |= {f'{name}, last': float(values.iloc[-1]), f'{name}, best': float(values.max())}
        losses = training_rows(run.log).loss
        figures |= {'training loss, last': float(losses.iloc[-1])} if len(losses) else {}
    return figures


def measure_time(run: Run) -> dict[str, float]:
    """Minutes of the training without its pauses, and seconds of an iteration: the median, times the iterations."""
    if run.log is None or 'time' not in run.log:
        return {}
    rows = training_rows(run.log)
    return {
        'minutes': float(rows.time.median() * rows.iter.max() / 60),
        'seconds an iteration': float(rows.time.median()),
    }


def _read_config(work_dir: Path) -> dict[str, Any] | None:
    """The config of the newest start; one that resumed begins from the weights that the first start did."""
    found = [read_dump(folder / 'vis_data/config.py') for folder in training_folders(work_dir)]
    found = [config for config in found if config is not None]
    if not found:
        return None
    first, newest = found[0], found[-1]
    return newest | dict(load_from=first.get('load_from')) if newest.get('resume') else newest


def read_dump(path: Path) -> dict[str, Any] | None:
    """Read a config as mmengine dumps it: assignments of plain values. It is a program, but it is not run; None if it is no such file.

    Tuples become lists; what is no plain value becomes its text.
    """
    try:
        if path.stat().st_size > LONGEST:
            return None
        body = ast.parse(path.read_text(encoding='utf-8', errors='replace')).body
        return {
            step.targets[0].id: _evaluate(step.value)
            for step in body
            if isinstance(step, ast.Assign) and isinstance(step.targets[0], ast.Name)
        }
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _evaluate(node: ast.expr) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple():
            return [_evaluate(item) for item in node.elts]
        case ast.Dict() if None not in node.keys:
            return {str(_evaluate(key)): _evaluate(value) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.Call(func=ast.Name(id='dict'), args=[], keywords=words) if all(word.arg for word in words):
            return {word.arg: _evaluate(word.value) for word in words}
        case ast.Call(func=ast.Name(id='dict'), args=[ast.Dict() as inner], keywords=[]):
            return _evaluate(inner)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
    return ast.unparse(node)


def _read_table(path: Path, column: str) -> pd.Series | None:
    """A column by class; None if there is no such table."""
    try:
        if path.stat().st_size > LONGEST:
            return None
        table = pd.read_csv(path, dtype={'class': str}, keep_default_na=False, na_values={column: ['']})
        values = pd.to_numeric(table[column], errors='coerce')
        return pd.Series(values.to_numpy(float), table['class']) if len(table) else None
    except (OSError, ValueError, KeyError):
        return None


def _read_counts(path: Path) -> dict[str, str]:
    try:
        facts = json.loads(path.read_text(encoding='utf-8')) if path.stat().st_size <= LONGEST else {}
    except (OSError, ValueError):
        return {}
    wanted = ('parameters', 'multiply-adds')
    return {key: str(facts[key])[:100] for key in wanted if key in facts} if isinstance(facts, dict) else {}
