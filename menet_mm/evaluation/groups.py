"""Runs that differ in their seed alone are one group: which these are, in what their configs differ, and how far apart they are."""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import pandas as pd
from mmengine.runner import Runner

from menet_mm.evaluation.intervals import Difference, paired_difference
from menet_mm.evaluation.runs import Run

#: Settings that are another thing for each run, or say nothing of the training.
APART = ('cfg', 'work_dir', 'resume', 'experiment_name')
NOT_SET = 'not set'


@dataclass
class Group:
    """Runs of the same ``settings`` (:func:`read_settings`). ``name`` begins with a letter that no other group has."""

    name: str
    runs: list[Run]
    settings: dict[str, Any] | None


@dataclass
class Cell:
    """A figure of a group: mean and range over its runs, and the paired difference to the first group."""

    mean: float
    lowest: float
    highest: float
    count: int
    difference: Difference

    @property
    def clear(self) -> bool:
        """Whether the interval of the difference does not hold zero."""
        return abs(self.difference.mean) > self.difference.interval  # false for NaN


def read_settings(run: Run) -> dict[str, Any] | None:
    """What a runner reads of a run's config, without seed and work dir: variables of the file stand in it a second time."""
    if run.config is None:
        return None
    known = set(inspect.signature(Runner).parameters).difference(APART)
    settings = {key: value for key, value in run.config.items() if key in known and value is not None}
    if isinstance(randomness := settings.pop('randomness', None), dict):
        rest = {key: value for key, value in randomness.items() if key != 'seed'}
        settings |= dict(randomness=rest) if rest else {}
    return settings


def find_groups(runs: Iterable[Run]) -> list[Group]:
    """Put runs of the same settings together, in the order of the first of each; a run without a config stays alone."""
    found: dict[str, tuple[dict | None, list[Run]]] = {}
    for run in runs:
        settings = read_settings(run)
        key = run.name if settings is None else json.dumps(settings, sort_keys=True, default=str)
        found.setdefault(key, (settings, []))[1].append(run)
    return [
        Group(f'{_letters(number)} {_common_name([run.name for run in members])}', members, settings)
        for number, (settings, members) in enumerate(found.values())
    ]


def _letters(number: int) -> str:
    return (_letters(number // 26 - 1) if number >= 26 else '') + chr(ord('A') + number % 26)


def _common_name(names: list[str]) -> str:
    """What names have in common, such as ``menet108`` of ``menet108/seed0`` and ``menet108/seed1``."""
    if len(names) == 1:
        return names[0]
    common = ''.join(
        letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    )
    return re.sub(r'[\W_]*(seed)?[\W_]*$', '', common) or names[0]


def find_differences(groups: list[Group]) -> list[tuple[str, list[str | None]]]:
    """Settings that differ between groups: the key, and the value of each group as text; None of a group without a config."""
    found = _differ('', [group.settings for group in groups if group.settings is not None])
    rows = []
    for key, values in found:
        remaining = iter(values)
        rows.append((key, [None if group.settings is None else next(remaining) for group in groups]))
    return rows


def _differ(path: str, values: list[Any]) -> Iterator[tuple[str, list[str]]]:
    """Go down where all values are dicts, or lists of dicts of one length."""
    if all(value == values[0] for value in values):
        return
    if all(isinstance(value, dict) for value in values):
        parts = {
            key: [value.get(key, NOT_SET) for value in values] for value in values for key in value if key != '_scope_'
        }
    elif all(isinstance(value, list) and any(isinstance(item, dict) for item in value) for value in values) and (
        len({len(value) for value in values}) == 1
    ):
        parts = {str(index): items for index, items in enumerate(map(list, zip(*values, strict=True)))}
    else:
        yield path, [value if isinstance(value, str) else repr(value) for value in values]
        return
    for key, items in parts.items():
        yield from _differ(f'{path}.{key}'.removeprefix('.'), items)


def tabulate(groups: list[Group], figures: Callable[[Run], dict[str, float]]) -> dict[str, list[Cell | None]]:
    """By name of a figure that any run has, a cell for each group; None where no run of the group has it.

    ``figures`` gives those of a run. Differences are taken between runs of the same seed; of several of one seed, the mean.
    """
    rows = [
        dict(group=number, seed=run.seed, name=name, value=value)
        for number, group in enumerate(groups)
        for run in group.runs
        for name, value in figures(run).items()
    ]
    table = pd.DataFrame(rows, columns=['group', 'seed', 'name', 'value']).dropna(subset='value')
    return {str(name): _cells(part, len(groups)) for name, part in table.groupby('name', sort=False)}


def _cells(table: pd.DataFrame, groups: int) -> list[Cell | None]:
    by_seed = [table[table.group == number].groupby('seed').value.mean() for number in range(groups)]
    cells: list[Cell | None] = []
    for number in range(groups):
        values = table.value[table.group == number]
        other = by_seed[0] if number else pd.Series(dtype=float)
        difference = paired_difference(by_seed[number], other)
        cell = Cell(values.mean(), values.min(), values.max(), len(values), difference)
        cells.append(cell if len(values) else None)
    return cells
