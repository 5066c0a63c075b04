"""Statistics of studies, by hand; tables, plots and what may be said about the order."""

import numpy as np
import pandas as pd
import pytest

from menet_mm import InputError
from studies import summary as studies


def results(**values: list[float]) -> pd.DataFrame:
    rows = [
        dict(model=model, seed=seed, top1=value, parameters=10, mmacs=1.5, minutes=2.0)
        for model, seeds in values.items()
        for seed, value in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def test_intervals_and_paired_differences():
    """The differences are 1 to 5: their mean is 3, their deviation sqrt(2.5), and t(0.975, 4) is 2.7764."""
    table = results(a=[10, 20, 30, 40, 50], b=[11, 22, 33, 44, 55])
    summary = studies.summarize(table, 'top1', 'a').set_index('model')
    assert summary['mean'].tolist() == [33, 30]
    assert summary.difference['b'] == pytest.approx(3)
    assert summary.difference_interval['b'] == pytest.approx(2.7764 * np.sqrt(2.5 / 5), abs=1e-4)
    assert summary.interval['a'] == pytest.approx(2.7764 * 10 * np.sqrt(2.5 / 5), abs=1e-3)
    assert np.isnan(summary.difference['a'])
    text = studies.to_markdown(summary.reset_index(), 'a')
    assert '| b | 5 | 33.000 | 11.000 to 55.000 | ±21.596 | +3.000 | ±1.963 | 10 | 1.5 | 2 |' in text


def test_fewer_than_five_seeds_have_no_interval_but_a_range():
    summary = studies.summarize(results(a=[10, 20, 30, 40], b=[13]), 'top1', 'a')
    assert summary[['interval', 'difference_interval']].isna().all(axis=None)
    text = studies.to_markdown(summary, 'a')
    assert '| a | 4 | 25.000 | 10.000 to 40.000 | - | 10 | 1.5 | 2 |' in text
    assert '| b | 1 | 13.000 | - | +3.000 | 10 | 1.5 | 2 |' in text  # paired by seed: 13 against 10
    assert len({line.count('|') for line in text.splitlines()}) == 1


def test_a_metric_that_the_rows_do_not_have():
    with pytest.raises(InputError, match="no metric 'top2': is 'top1' meant"):
        studies.summarize(results(a=[10]), 'top2', 'a')


@pytest.mark.parametrize(
    ('values', 'seen', 'why'),
    [
        (dict(a=[40, 41, 42]), None, 'not all of a, b have been trained'),
        (dict(a=[40, 41, 42], b=[20, 21, 22]), None, 'network, b, reaches only 21.000%, and 25% are needed'),
        (dict(a=[40, 41, 42, 43], b=[38, 39, 40, 41]), None, 'a and b have 4 seeds in common'),
        (dict(a=[40, 41, 42, 41, 41], b=[38, 39.1, 40, 39, 39]), True, 'a - b = +1.980 ± 0.056'),
        (dict(a=[38, 39.1, 40, 39, 39], b=[40, 41, 42, 41, 41]), False, 'a - b = -1.980 ± 0.056'),
        (dict(a=[40, 41, 42, 41, 41], b=[38, 42, 41, 42, 41]), False, 'the interval contains zero'),
    ],
)
def test_what_is_said_about_the_order(values, seen, why):
    order = studies.read_order(studies.summarize(results(**values), 'top1', 'a'), ['b'], 'a', floor=25, unit='%')
    assert order.seen is seen
    assert why in order.why


@pytest.mark.parametrize('values', [dict(a=[40, 41], b=[38]), dict(a=[40, 41, 42, 43, 44], b=[38, 37, 36, 35, 34])])
def test_the_plot_is_a_picture(tmp_path, values):
    summary = studies.summarize(results(**values), 'top1', 'a')
    studies.plot(summary, tmp_path / 'x.png', 'top1', paper={'MENet': (38.3, 56.1)})
    assert (tmp_path / 'x.png').read_bytes()[:4] == b'\x89PNG'
