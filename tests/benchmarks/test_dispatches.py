"""Counts of operators, which are the same on every machine."""

import pandas as pd
import pytest
from mmengine.config import Config

from benchmarks.dispatches import count_heads, count_iteration
from menet_mm import InputError


def test_a_training_iteration_has_few_operators():
    counts = count_iteration(Config.fromfile('configs/ssd_menet228_voc.py'), (300, 300), 32)
    assert counts['whole'] <= 5000
    assert counts['loss'] <= 300


def test_only_mmdets_loss_grows_with_the_batch():
    rows = count_heads('ssd_mobilenet025_voc', [2, 4])
    table = rows.pivot_table('operators', ['head', 'batch'], 'part')
    loss = table['loss']
    assert loss['menet_mm.SSDHead', 2] == loss['menet_mm.SSDHead', 4]
    assert loss['mmdet.SSDHead', 4] > loss['mmdet.SSDHead', 2]
    # All else is the same with both heads.
    pd.testing.assert_frame_equal(
        table.loc['menet_mm.SSDHead', ['backbone and neck', 'head', 'clip and step']],
        table.loc['mmdet.SSDHead', ['backbone and neck', 'head', 'clip and step']],
    )


def test_only_an_ssd_is_counted():
    with pytest.raises(InputError, match='menet108_in1k is no SSD'):
        count_heads('menet108_in1k', [2])
