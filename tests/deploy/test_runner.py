"""What comes before and after the network, against MMDetection's own, and what Runner refuses."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope

from menet_mm import InputError
from menet_mm.deploy import Runner, runner
from menet_mm.deploy.description import Description, Input, Step
from menet_mm.deploy.exporter import describe
from menet_mm.deploy.functions import make_function
from menet_mm.deploy.pipeline import preprocess_steps
from menet_mm.deploy.runner import postprocess, preprocess
from menet_mm.deploy.runtimes import RUNTIMES

ENDINGS = [runtime.suffix for runtime in RUNTIMES.values()]
DESCRIPTION = Description(
    task='classification',
    runtime='onnxruntime',
    input=Input('image', [1, 3, 24, 32], 'RGB', [1.0, 2, 3], [4.0, 5, 6]),
    preprocess=[Step('CenterCrop', [32, 24])],
    classes=[],
    outputs=['logits'],
)


@cache
def build() -> tuple[Config, torch.nn.Module, torch.nn.Module, list]:
    """An SSD for pictures that are not square, as a function of one tensor, and the shapes of its maps."""
    cfg = Config.fromfile('configs/ssd_menet108_voc12.py')
    cfg.test_pipeline[1].scale = (352, 256)  # width, height
    cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model).eval()
    raw = make_function(model, preprocess_steps(cfg)[1])
    maps = model.bbox_head(model.extract_feat(torch.zeros(1, 3, 256, 352)))
    return cfg, model, raw, [[level.shape for level in levels] for levels in maps]


class Detector:
    """An SSD whose network gives what it is told to, in MMDetection and in ours."""

    def __init__(self, **test_cfg) -> None:
        cfg, self.model, self.raw, self.shapes = build()
        self.size = self.raw.size
        self.model.test_cfg = self.model.bbox_head.test_cfg = ConfigDict({**cfg.model.test_cfg, **test_cfg})
        self.description = describe(cfg, self.raw, RUNTIMES['onnxruntime'], {})
        assert self.description.size == self.size == (256, 352)

    def maps(self, rng: np.random.Generator) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Scores and deltas of all levels, such that boxes overlap, reach the bounds of the coder and leave the picture."""
        scores = [rng.normal(0, 3, shape) for shape in self.shapes[0]]
        deltas = [rng.normal(0, 2, shape) for shape in self.shapes[1]]
        for values in deltas:
            values[rng.random(values.shape) < 0.1] *= 20
        return tuple([torch.from_numpy(values.astype(np.float32)) for values in levels] for levels in (scores, deltas))

    def by_mmdet(self, maps, height: int, width: int):
        scale = (self.size[1] / width, self.size[0] / height)
        meta = dict(img_shape=self.size, ori_shape=(height, width), scale_factor=scale)
        return self.model.bbox_head.predict_by_feat(*maps, batch_img_metas=[meta], rescale=True)[0].numpy()

    def by_runner(self, maps, height: int, width: int, score_thr: float | None = None):
        self.model.extract_feat = lambda image: ()
        self.model.bbox_head.forward = lambda features: maps
        outputs = [value.numpy() for value in self.raw(torch.zeros(1, 3, *self.size))]
        return postprocess(outputs, [(height, width)], self.description, score_thr)[0]


def assert_same(found, wanted):
    assert found['labels'].tolist() == wanted.labels.tolist()
    assert found['boxes'] == pytest.approx(wanted.bboxes, abs=1e-3)
    assert found['scores'] == pytest.approx(wanted.scores, abs=1e-6)


@pytest.mark.parametrize(
    'test_cfg',
    [
        {},
        dict(nms_pre=50),
        dict(max_per_img=7),
        dict(score_thr=0.5),
        dict(nms=dict(type='nms', iou_threshold=0.2)),
        dict(min_bbox_size=40, nms_pre=5000, max_per_img=5000),
        dict(min_bbox_size=-1, max_per_img=5000),
    ],
    ids=str,
)
@torch.no_grad()
def test_boxes_are_mmdets(test_cfg):
    detector = Detector(**test_cfg)
    maps = detector.maps(np.random.default_rng(0))
    wanted = detector.by_mmdet(maps, 375, 500)
    if test_cfg.get('min_bbox_size', 0) < 0:
        # MMDetection keeps boxes without area then, which suppress nothing.
        area = (wanted.bboxes[:, 2:] - wanted.bboxes[:, :2]).min(1)
        assert (area == 0).any()
        wanted = wanted[area > 0]
    assert len(set(wanted.labels)) > 5
    if 'score_thr' not in test_cfg:
        assert (maps[0][0].unflatten(1, (-1, 21)).softmax(2)[:, :, :20] > 0.02).sum() > 5000  # more than any nms_pre
        assert len(wanted) == test_cfg.get('max_per_img', 200) or 'min_bbox_size' in test_cfg
    assert_same(detector.by_runner(maps, 375, 500), wanted)


@torch.no_grad()
def test_threshold_of_a_call():
    detector = Detector()
    maps = detector.maps(np.random.default_rng(0))
    wanted = detector.by_mmdet(maps, 200, 300)
    wanted = wanted[wanted.scores > 0.99]
    assert 10 < len(wanted) < 200
    assert_same(detector.by_runner(maps, 200, 300, score_thr=0.99), wanted)
    nothing = detector.by_runner(maps, 200, 300, score_thr=1.0)
    assert {key: value.shape for key, value in nothing.items()} == dict(boxes=(0, 4), scores=(0,), labels=(0,))


def test_scores_of_a_classifier_sum_to_one():
    logits = np.float32([[900, 901, 899.5], [-2, 0, 1]])
    found = postprocess([logits], [(1, 1), (1, 1)], DESCRIPTION)
    wanted = torch.from_numpy(logits).softmax(1).numpy()
    assert np.array([scores['scores'] for scores in found]) == pytest.approx(wanted, abs=1e-6)
    named = replace(DESCRIPTION, classes=['cat', 'dog'])
    with pytest.raises(
        InputError, match=r'the description does not fit what the model gives, \(2, 3\): export it again'
    ):
        postprocess([logits], [(1, 1), (1, 1)], named)


@pytest.mark.parametrize(
    ('picture', 'given'),
    [
        (np.zeros((40, 40), np.uint8), r'but got uint8 \(40, 40\)'),
        (np.zeros((40, 40, 1), np.uint8), r'but got uint8 \(40, 40, 1\)'),
        (np.zeros((40, 40, 4), np.uint8), r'but got uint8 \(40, 40, 4\)'),
        (np.zeros((40, 40, 3), np.float32), r'but got float32 \(40, 40, 3\)'),
        (np.zeros((0, 40, 3), np.uint8), r'but got uint8 \(0, 40, 3\)'),
        (None, 'but got None'),
        ('street.jpg', "but got 'street.jpg'"),
        (np.zeros((23, 40, 3), np.uint8), 'a picture of 40 x 23 is too small: the model crops 32 x 24 from it'),
    ],
)
def test_what_is_no_picture_is_refused(network, picture, given):
    for images in (picture, [picture]):
        with pytest.raises(InputError, match=given):
            network()(images)


def test_a_picture_too_narrow_for_its_edge_is_refused():
    thin = replace(DESCRIPTION, preprocess=[Step('ResizeEdge', [32], 'long', 'cv2')])
    with pytest.raises(InputError, match='a picture of 100 x 2 is too small: the model'):
        preprocess(np.zeros((2, 100, 3), np.uint8), thin)


def test_channels_and_their_order():
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:] = 10, 20, 30  # blue, green, red
    assert preprocess(picture, DESCRIPTION)[:, 0, 0].tolist() == pytest.approx([29 / 4, 18 / 5, 7 / 6])
    other = replace(DESCRIPTION, input=replace(DESCRIPTION.input, channel_order='BGR'))
    assert preprocess(picture, other)[:, 0, 0].tolist() == pytest.approx([9 / 4, 18 / 5, 27 / 6])


def write(path: Path, **changes: object) -> Path:
    """Write a description for a model that is no model, as a dict that can be spoiled."""
    path.write_text('no model')
    DESCRIPTION.write(path)
    description = path.with_name(f'{path.name}.json')
    description.write_text(json.dumps({**json.loads(description.read_text()), **changes}))
    return path


@pytest.fixture
def network(tmp_path, monkeypatch) -> Callable[..., Runner]:
    """A runner of a network that sums what it gets, and keeps the sizes of its batches in ``sizes``."""
    sizes = []

    def infer(batch):
        sizes.append(len(batch))
        return [batch.sum((1, 2, 3))[:, None]]

    runtime = SimpleNamespace(load=lambda *args, **options: infer)
    monkeypatch.setattr(runner, 'runtime_of', lambda path: runtime)

    def make(**changes: object) -> Runner:
        made = Runner(write(tmp_path / 'model.onnx', **changes))
        made.sizes = sizes
        return made

    return make


def test_no_pictures_no_results(network):
    assert network()([]) == []


def test_one_picture_at_a_time_unless_the_model_takes_more(network):
    batch = np.random.default_rng(0).random((3, 3, 24, 32), np.float32)
    for dynamic in (False, True):
        detect = network(dynamic_batch=dynamic)
        assert detect.infer(batch)[0].shape == (3, 1)
        assert detect.infer(batch)[0] == pytest.approx(batch.sum((1, 2, 3))[:, None])
    assert detect.sizes == [1, 1, 1, 1, 1, 1, 3, 3]


@pytest.mark.parametrize('ending', ENDINGS)
@pytest.mark.parametrize('content', ['', 'no model', None])
def test_a_damaged_model_is_said(tmp_path, ending, content):
    path = tmp_path / f'model{ending}'
    with pytest.raises(InputError, match=r'no model .*: make it with tools/export.py'):
        Runner(path)
    path.write_text(content or '')
    with pytest.raises(InputError, match=rf'no description .*model{ending}.json: keep the files of an export together'):
        Runner(path)
    write(path)
    if content is not None:
        path.write_text(content)
        with pytest.raises(InputError, match=r'cannot be loaded \(.+\): export it again'):
            Runner(path)


NMS = dict(score_threshold=0.02, iou_threshold=0.5, pre=9, min_size=0, max_per_image=9, anchors=[4])
RESIZE = dict(type='ResizeEdge', size=[32], edge='short', backend='cv2')
GIVEN = asdict(DESCRIPTION.input)


@pytest.mark.parametrize(
    'change',
    [
        dict(format=1),
        dict(task='detection'),
        dict(task='detection', nms=dict(score_threshold=0.02)),
        dict(task='detection', nms=NMS),  # of one output
        *(
            dict(task='detection', outputs=['boxes', 'scores'], nms={**NMS, **wrong})
            for wrong in (dict(anchors=[0]), dict(pre='9'), dict(iou_threshold=1.5), dict(min_size=None), dict(more=1))
        ),
        *(
            dict(preprocess=[step])
            for step in (
                dict(type='Rotate'),
                dict(type='Resize', size=[32]),
                'Resize',
                {**RESIZE, 'edge': 'upper'},
                {**RESIZE, 'size': [32, 24]},
                {**RESIZE, 'size': [10**9]},
                {**RESIZE, 'backend': 'magick'},
            )
        ),
        dict(preprocess=None),
        dict(input=3),
        dict(input=dict(name='image')),
        *(
            dict(input={**GIVEN, **wrong})
            for wrong in (
                dict(shape=[1, 3, 24]),
                dict(shape=[1, 1, 24, 32]),
                dict(shape=[1, 3, 24, 32.5]),
                dict(mean=[1, 2]),
                dict(mean=[1, 2, float('nan')]),
                dict(std=[1, 0, 1]),
                dict(std=[1, 2, 10**400]),
                dict(channel_order='GRB'),
                dict(layout='NHWC'),
                dict(name=None),
            )
        ),
        dict(classes='cat'),
        dict(classes=[1]),
        dict(outputs=[]),
        dict(dynamic_batch=1),
        dict(precision='bf16'),
    ],
    ids=str,
)
def test_a_spoiled_description_is_said(tmp_path, change):
    path = write(tmp_path / 'model.onnx', **change)
    with pytest.raises(
        InputError, match='is no description of an exported model of format 2 .*: export it again'
    ) as said:
        Runner(path)
    assert '\n' not in str(said.value)


@pytest.mark.parametrize('text', ['', '[]', '3', '{"format": 2', '{"format": 2}', '[' * 100_000])
def test_a_file_that_is_no_description_is_said(tmp_path, text):
    path = write(tmp_path / 'model.onnx')
    path.with_name('model.onnx.json').write_text(text)
    with pytest.raises(InputError, match='is no description of an exported model of format 2 .*: export it again'):
        Runner(path)


def test_what_is_written_is_read(tmp_path):
    nms = dict(NMS, min_size=0.5)
    boxes = dict(task='detection', outputs=['boxes', 'scores'], nms=nms, preprocess=[RESIZE])
    path = write(tmp_path / 'model.onnx', **boxes)
    description = Description.read(path)
    assert asdict(description.nms) == nms
    description.write(path)
    assert Description.read(path) == description


def test_wrong_names_and_precisions_are_said(tmp_path):
    with pytest.raises(
        InputError, match=r'model.pth .*one of .onnx \(onnxruntime\), .xml \(openvino\), .param \(ncnn\)'
    ):
        Runner(tmp_path / 'model.pth')
    for ending, precision in [('.onnx', 'bf16'), ('.param', 'bf16'), ('.xml', 'int8')]:
        path = write(tmp_path / f'model{ending}')
        with pytest.raises(InputError, match=f"computes in fp32.*, but got '{precision}': give another precision"):
            Runner(path, precision=precision)


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / 'model.onnx')
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(InputError, match='model.onnx needs onnxruntime: run `pip install onnxruntime`'):
        Runner(path)


@pytest.mark.parametrize(
    ('precision', 'file', 'kernel', 'limited', 'refused'),
    [
        ('fp32', 'int8', 'brgconv_avx512_1x1_I8', True, False),
        ('fp32', 'int8', 'brgconv_avx512_amx_1x1_I8', True, True),
        ('bf16', 'int8', 'jit_avx512_amx_I8', True, True),
        ('fp32', 'fp32', 'brgconv_avx512_f32', True, False),
        ('bf16', 'fp32', 'brgconv_avx512_amx_bf16', False, False),
    ],
)
def test_openvino_computes_8_bit_without_amx(tmp_path, monkeypatch, precision, file, kernel, limited, refused):
    """On processors with AMX 8 bit comes out wrong; what another part of the process has switched on is noticed."""
    path, openvino = write(tmp_path / 'model.xml', precision=file), MagicMock()
    core, seen = openvino.Core.return_value, []
    core.get_property.return_value = ['FP32', 'BF16', 'INT8']
    core.compile_model.side_effect = lambda *_: seen.append(os.environ.get('ONEDNN_MAX_CPU_ISA')) or mock.DEFAULT
    operators = core.compile_model.return_value.get_runtime_model.return_value.get_ops
    operators.return_value = [MagicMock()]
    operators.return_value[0].get_rt_info.return_value = {'primitiveType': MagicMock(astype=lambda kind: kernel)}
    monkeypatch.setitem(sys.modules, 'openvino', openvino)
    monkeypatch.setenv('ONEDNN_MAX_CPU_ISA', '')  # so that it is put back
    monkeypatch.delenv('ONEDNN_MAX_CPU_ISA')
    if refused:
        with pytest.raises(InputError, match='model.xml with AMX, .*: set ONEDNN_MAX_CPU_ISA=AVX512_CORE_FP16 before'):
            Runner(path, precision=precision)
    else:
        Runner(path, precision=precision)
    assert seen == ['AVX512_CORE_FP16' if limited else None]
    assert 'ONEDNN_MAX_CPU_ISA' not in os.environ  # processes that are started later choose for themselves
