"""How sure a mean of several runs is, by Student's t."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

#: Runs below which no interval is given: with two or three, Student's is many times wider than what was seen.
MIN_SEEDS = 5


class Difference(NamedTuple):
    """Mean of paired differences, half of its 95 % interval, and their number; NaN where there are too few."""

    mean: float
    interval: float
    pairs: int


def interval(values: np.ndarray) -> float:
    """Half the width of Student's 95 % interval of the mean; NaN of fewer than :data:`MIN_SEEDS` values."""
    if len(values) < MIN_SEEDS:
        return float('nan')
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def paired_difference(values: pd.Series, reference: pd.Series) -> Difference:
    """Compare with a reference on the seeds, the index, that both have; a seed stands once in each."""
    paired = (values - reference).dropna().to_numpy()
    return Difference(float(paired.mean()) if len(paired) else float('nan'), interval(paired), len(paired))
