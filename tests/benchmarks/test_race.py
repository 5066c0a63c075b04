import numpy as np
import onnx
import pytest

from benchmarks.build import export_model, exported_path, input_size
from benchmarks.contestant import Contestant
from benchmarks.lineup import inference, passes, references
from benchmarks.race import race
from benchmarks.worker import Setup, check_outputs, make_step
from menet_mm import InputError
from menet_mm.deploy.runtimes import RUNTIMES


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


@pytest.mark.parametrize('runtime', RUNTIMES)
def test_every_picture_of_a_batch_is_computed(runtime, tmp_path):
    """ncnn takes one picture at a time; its throughput was multiplied by the batch all the same."""
    contestant = Contestant('mobilenet025_tiny100', 'menet_mm', runtime, 'plain', batch=3)
    path = export_model(contestant, tmp_path)
    step = make_step(Setup(contestant, str(path), input_size(contestant.network)))
    (logits,) = step()
    assert logits.shape == (3, 100)
    assert len(np.unique(logits, axis=0)) == 3


def test_a_model_that_ignores_pictures_is_not_measured(tmp_path, capfd):
    contestant = Contestant('mobilenet025_tiny100', 'menet_mm', 'onnxruntime', 'plain', batch=2)
    image, mean = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (('image', [2, 3, 64, 64]), ('mean', [1, 3, 1, 1]))
    )
    node = onnx.helper.make_node('ReduceMean', ['image'], ['mean'], axes=[0, 2, 3])
    graph = onnx.helper.make_graph([node], 'mean', [image], [mean])
    path = exported_path(contestant, tmp_path)
    path.parent.mkdir()
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 13)], ir_version=8), path)
    with pytest.raises(InputError, match='batch 2, threads 1 cannot be run'):
        race([contestant], tmp_path, rounds=1)
    assert 'a batch of 2 pictures gave 1 results' in capfd.readouterr().err


@pytest.mark.parametrize(
    ('outputs', 'message'),
    [
        ([np.zeros((1, 10))], 'a batch of 2 pictures gave 1 results'),
        ([np.eye(2), np.zeros((1, 10))], 'a batch of 2 pictures gave 1 results'),
        ([np.ones((2, 10)), np.ones((2, 4, 5))], 'gave the same result twice'),
    ],
)
def test_a_runtime_that_ignores_pictures_is_not_measured(outputs, message):
    check_outputs([np.ones((2, 4)), np.eye(2)], 2)
    with pytest.raises(InputError, match=message):
        check_outputs(outputs, 2)


def test_other_configs_forms_and_precisions_have_other_files(tmp_path):
    first = Contestant('mobilenet025_in1k', 'menet_mm', 'onnxruntime', 'deploy')
    names = [
        exported_path(Contestant(**{**vars(first), **changes}), tmp_path)
        for changes in (
            {},
            dict(network='menet108_in1k'),
            dict(source='pytorchcv'),
            dict(form='plain'),
            dict(skip='a'),
            dict(precision='int8'),
            dict(batch=2),
            dict(runtime='openvino'),
        )
    ]
    assert len(set(names)) == len(names)
    assert exported_path(Contestant(**{**vars(first), 'threads': 2}), tmp_path) == names[0]


def test_measurements_at_the_same_time_do_not_mix_their_files(tmp_path, monkeypatch):
    first, second = (Contestant('mobilenet025_in1k', 'menet_mm', 'onnxruntime', form) for form in ('plain', 'deploy'))
    written = []

    def write(self, function, example, path, dynamic_batch=False):
        path.write_text(f'file {len(written)}')
        written.append(path)
        if len(written) == 1:
            assert export_model(second, tmp_path).read_text() == 'file 1'

    monkeypatch.setattr(type(RUNTIMES['onnxruntime']), 'write', write)
    path = export_model(first, tmp_path)
    assert path.read_text() == 'file 0'
    assert sorted(path.parent.iterdir()) == sorted([path, export_model(second, tmp_path)])  # nothing else is left


def test_ratios_are_to_the_whole_form_if_passes_are_left_out():
    contestants = passes(['menet108_in1k', 'mobilenet025_in1k'], ['onnxruntime', 'torch'])
    for contestant, reference in zip(contestants, references(contestants), strict=True):
        whole = contestants[reference]
        assert (whole.network, whole.runtime, whole.skip) == (contestant.network, contestant.runtime, '')
    assert len({(c.network, c.runtime, c.skip) for c in contestants}) == len(contestants) > 4
    assert set(references(inference(['menet108_in1k', 'mobilenet025_in1k'], ['onnxruntime']))) == {0}


@pytest.mark.slow
def test_a_pass_that_is_left_out_is_missing_in_what_is_measured(tmp_path):
    whole, *others = passes(['menet108_in1k'], ['onnxruntime'])
    rows = race([whole, others[0]], tmp_path, rounds=1)
    assert rows.ratio[0] == 1
    assert rows['skip'].tolist() == ['', others[0].skip]
    assert len({path.read_bytes() for path in tmp_path.rglob('*.onnx')}) == 2


def test_a_precision_that_a_runtime_does_not_have_is_refused():
    with pytest.raises(InputError, match='ncnn has fp32, not int8'):
        inference(['menet108_in1k'], ['onnxruntime', 'ncnn'], ['int8'])


def test_a_contestant_that_cannot_run_is_named(tmp_path):
    with pytest.raises(InputError, match='no config menet999'):
        race([Contestant('menet999', 'menet_mm', 'torch', 'plain')], tmp_path, rounds=1)
    contestant = Contestant('menet108_in1k', 'menet_mm', 'onnxruntime', 'plain', 'int8')
    damaged = exported_path(contestant, tmp_path)
    damaged.parent.mkdir()
    damaged.write_text('no model')
    with pytest.raises(InputError, match='menet108_in1k menet_mm onnxruntime plain int8'):
        race([contestant], tmp_path, rounds=1)
