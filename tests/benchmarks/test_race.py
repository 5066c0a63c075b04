from pathlib import Path

import cv2
import mmdet
import numpy as np
import onnx
import pytest
import torch
from mmengine.config import Config

from benchmarks.race import MMDET_SSD_PIPELINE, _exported, _fingerprint, _function, measure_pipelines, race
from benchmarks.worker import Contestant
from menet_mm import InputError

LOADING = MMDET_SSD_PIPELINE[:2]


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


def test_the_rival_is_mmdets_own_pipeline():
    own = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs/pascal_voc/ssd300_voc0712.py').train_pipeline
    assert [dict(step) for step in own] == MMDET_SSD_PIPELINE


def test_a_row_for_each_pipeline_and_no_traces(shapes):
    threads, state = (cv2.getNumThreads(), torch.get_num_threads()), np.random.get_state()[1].copy()
    ours = Config.fromfile('configs/ssd_menet228_voc.py').train_pipeline
    pipelines = dict(mmdet=MMDET_SSD_PIPELINE, ours=ours, loading=LOADING)
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


@pytest.mark.slow
def test_contestants_take_turns_and_exported_ones_need_no_torch(tmp_path):
    contestants = [
        Contestant('mobilenet025_in1k', 'pytorchcv', 'torch', 'plain'),
        Contestant('mobilenet025_in1k', 'menet_mm', 'onnxruntime', 'deploy', threads=2),
        Contestant('mobilenet025_in1k', 'menet_mm', 'torch', 'default', batch=2, training=True),
    ]
    lines = []
    rows = race(contestants, tmp_path, rounds=2, progress=lines.append)
    assert rows.form.tolist() == ['plain', 'deploy', 'default']
    assert rows.ratio[0] == 1
    assert rows.mmacs.tolist() == 3 * [41.03]
    assert (rows.low <= rows.milliseconds).all()
    assert (rows.milliseconds <= rows.high).all()
    assert rows.images_per_second[2] == pytest.approx(2000 / rows.milliseconds[2], rel=0.01)
    assert rows.peak_mb[1] < 0.7 * rows.peak_mb[0]
    assert lines[-1] == 'round 2 of 2'
    (model,) = tmp_path.rglob('*.onnx')
    # Biases of zero would be left out, and ONNX Runtime adds no residual within such a convolution.
    assert all(len(node.input) == 3 for node in onnx.load(model).graph.node if node.op_type == 'Conv')
    before = model.stat().st_mtime_ns
    lines.clear()
    race(contestants[1:2], tmp_path, rounds=20, progress=lines.append)
    assert model.stat().st_mtime_ns == before  # used again
    assert sum(line.startswith('starting') for line in lines) == 4  # one in five rounds
    # Another config, code or library is another file.
    assert _fingerprint('menet108_in1k') != _fingerprint('mobilenet025_in1k')
    assert _fingerprint('mobilenet025_in1k') in model.stem


@pytest.mark.parametrize('source', ['pytorchcv', 'menet_mm'])
def test_activations_are_of_a_trained_networks_scale(source):
    """With pytorchcv's initial weights they reach 275, and the sigmoids' exponentials are denormal numbers."""
    torch.manual_seed(0)
    network, size = _function(Contestant('menet228_in1k', source, 'torch', 'plain'))
    largest = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: largest.append(output.abs().max().item()))
    with torch.no_grad():
        network(torch.rand(1, 3, *size))
    assert len(largest) == 97
    assert 0.1 < max(largest) < 50


def test_measurements_at_the_same_time_do_not_mix_their_files(tmp_path, monkeypatch):
    first, second = (Contestant('mobilenet025_in1k', 'menet_mm', 'onnxruntime', form) for form in ('plain', 'deploy'))
    written = []

    def write(runtime, function, image, path):
        path.write_text(f'file {len(written)}')
        written.append(path)
        if len(written) == 1:
            assert _exported(second, tmp_path).read_text() == 'file 1'

    monkeypatch.setattr('benchmarks.race.write_model', write)
    path = _exported(first, tmp_path)
    assert path.read_text() == 'file 0'
    assert sorted(path.parent.iterdir()) == sorted([path, _exported(second, tmp_path)])  # nothing else is left


def test_a_contestant_that_cannot_run_is_named(tmp_path):
    with pytest.raises(InputError, match='no config menet999'):
        race([Contestant('menet999', 'menet_mm', 'torch', 'plain')], tmp_path, rounds=1)
    damaged = tmp_path / f'onnxruntime/menet108_in1k-menet_mm-plain-b1-int8-{_fingerprint("menet108_in1k")}.onnx'
    damaged.parent.mkdir()
    damaged.write_text('no model')
    with pytest.raises(InputError, match='menet108_in1k menet_mm onnxruntime plain int8'):
        race([Contestant('menet108_in1k', 'menet_mm', 'onnxruntime', 'plain', 'int8')], tmp_path, rounds=1)
