import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from benchmarks.pipelines import measure_pipelines, mmdet_ssd_pipeline
from menet_mm import InputError

LOADING = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]


def dataset_of(folder, **changes) -> dict:
    return dict(
        type='XMLDataset',
        data_root=str(folder),
        ann_file='VOC2007/ImageSets/Main/trainval.txt',
        data_prefix=dict(sub_data_root='VOC2007/'),
        metainfo=dict(classes=('circle', 'square', 'triangle', 'star')),
        filter_cfg=dict(filter_empty_gt=True),
        **changes,
    )


def test_a_row_for_each_pipeline_and_no_traces(shapes):
    threads, state = (cv2.getNumThreads(), torch.get_num_threads()), np.random.get_state()[1].copy()
    ours = Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline
    pipelines = dict(mmdet=mmdet_ssd_pipeline(), ours=ours, loading=LOADING)
    # Wrapped as in ssd_menet228_voc0712.py; 14 pictures of a set of 12 or fewer.
    wrapped = dict(type='ConcatDataset', datasets=[dataset_of(shapes), dataset_of('nowhere')])
    rows = measure_pipelines(pipelines, wrapped, images=14, rounds=3)
    assert [row['pipeline'] for row in rows] == ['mmdet', 'ours', 'loading']
    assert rows[0]['ratio'] == 1
    for row in rows:
        assert 0 < row['low'] <= row['images_per_second'] <= row['high']
        assert row['ratio'] > 0
    assert threads == (cv2.getNumThreads(), torch.get_num_threads())
    assert np.array_equal(state, np.random.get_state()[1])


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(images=0), 'got images=0'),
        (dict(rounds=0), 'rounds=0'),
        (dict(pipelines={}), 'no pipeline'),
        (dict(dataset_cfg=dataset_of('nowhere')), 'no data set: nowhere'),
    ],
)
def test_bad_input_ends_in_a_sentence(shapes, changes, message):
    good = dict(pipelines=dict(loading=LOADING), dataset_cfg=dataset_of(shapes), images=1, rounds=1)
    with pytest.raises(InputError, match=message):
        measure_pipelines(**{**good, **changes})
