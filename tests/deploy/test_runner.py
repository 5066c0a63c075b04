"""What comes before and after the network, against MMDetection's own, and what Runner refuses."""

import json
import os
import sys
from unittest import mock
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from menet_mm import InputError
from menet_mm.deploy import Runner
from menet_mm.deploy.exporter import describe, preprocess_steps
from menet_mm.deploy.functions import RawDetections


def runner_of(description: dict) -> Runner:
    """A runner without a network."""
    runner = Runner.__new__(Runner)
    runner.description = description
    return runner


class Detector:
    """An SSD whose network gives what it is told to, in MMDetection and in ours."""

    def __init__(self, folder, **test_cfg) -> None:
        cfg = Config.fromfile('configs/ssd_menet108_voc12.py')
        cfg.model.test_cfg.update(test_cfg)
        cfg.test_pipeline[1].scale = (352, 256)  # width, height
        cfg.test_dataloader.dataset.pipeline = cfg.test_pipeline
        init_default_scope('mmdet')
        self.model = MODELS.build(cfg.model).eval()
        steps, self.size = preprocess_steps(cfg)
        assert self.size == (256, 352)
        self.raw = RawDetections(self.model, self.size)
        scores, deltas = self.model.bbox_head(self.model.extract_feat(torch.zeros(1, 3, *self.size)))
        self.shapes = [[level.shape for level in levels] for levels in (scores, deltas)]
        (folder / 'x.pth').touch()
        description = describe(cfg, self.model, steps, self.size, {}, str(folder / 'x.pth'))
        description['nms']['anchors'] = self.raw.anchors
        self.runner = runner_of(description)

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
        return self.runner.postprocess(outputs, [(height, width)], score_thr)[0]


def assert_same(found, wanted):
    assert found['labels'].tolist() == wanted.labels.tolist()
    assert found['boxes'] == pytest.approx(wanted.bboxes, abs=1e-3)
    assert found['scores'] == pytest.approx(wanted.scores, abs=1e-6)


@pytest.mark.parametrize('seed', range(3))
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
def test_boxes_are_mmdets(tmp_path, seed, test_cfg):
    detector = Detector(tmp_path, **test_cfg)
    maps = detector.maps(np.random.default_rng(seed))
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
def test_threshold_of_a_call(tmp_path):
    detector = Detector(tmp_path)
    maps = detector.maps(np.random.default_rng(0))
    wanted = detector.by_mmdet(maps, 200, 300)
    wanted = wanted[wanted.scores > 0.99]
    assert 10 < len(wanted) < 200
    assert_same(detector.by_runner(maps, 200, 300, score_thr=0.99), wanted)
    nothing = detector.by_runner(maps, 200, 300, score_thr=1.0)
    assert {key: value.shape for key, value in nothing.items()} == dict(boxes=(0, 4), scores=(0,), labels=(0,))


def test_scores_of_a_classifier_sum_to_one():
    logits = np.float32([[900, 901, 899.5], [-2, 0, 1]])
    runner = runner_of(dict(task='classification'))
    found = runner.postprocess([logits], [(1, 1), (1, 1)])
    wanted = torch.from_numpy(logits).softmax(1).numpy()
    assert np.array([scores['scores'] for scores in found]) == pytest.approx(wanted, abs=1e-6)


PREPROCESS = dict(
    task='classification',
    input=dict(name='image', shape=[1, 3, 24, 32], channel_order='RGB', mean=[1.0, 2, 3], std=[4.0, 5, 6]),
    preprocess=[dict(type='CenterCrop', crop_size=[24, 32])],
    dynamic_batch=False,
)


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
        (np.zeros((23, 40, 3), np.uint8), 'too small: at least 24 x 32 are needed'),
    ],
)
def test_what_is_no_picture_is_refused(picture, given):
    for images in (picture, [picture]):
        with pytest.raises(InputError, match=given):
            runner_of(PREPROCESS)(images)


def test_channels_and_their_order():
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[:] = 10, 20, 30  # blue, green, red
    runner = runner_of(PREPROCESS)
    assert runner.preprocess(picture)[:, 0, 0].tolist() == pytest.approx([29 / 4, 18 / 5, 7 / 6])
    runner.description = dict(PREPROCESS, input=dict(PREPROCESS['input'], channel_order='BGR'))
    assert runner.preprocess(picture)[:, 0, 0].tolist() == pytest.approx([9 / 4, 18 / 5, 27 / 6])


def test_no_pictures_no_results():
    assert runner_of(PREPROCESS)([]) == []


@pytest.mark.parametrize('ending', ['.onnx', '.xml', '.param'])
@pytest.mark.parametrize('content', ['', 'no model', None])
def test_a_damaged_model_is_said(tmp_path, ending, content):
    path = tmp_path / f'model{ending}'
    with pytest.raises(InputError, match=r'no model .*: make it with tools/export.py'):
        Runner(path)
    path.write_text(content or '')
    with pytest.raises(InputError, match=rf'no description .*model{ending}.json: keep the files of an export together'):
        Runner(path)
    description = dict(PREPROCESS, format=1, classes=[], outputs=['logits'])
    tmp_path.joinpath(f'model{ending}.json').write_text(json.dumps(description))
    if content is not None:
        with pytest.raises(InputError, match=r'cannot be loaded \(.+\): export it again'):
            Runner(path)
    changed = [
        dict(format=2),
        dict(task='detection'),
        dict(task='detection', nms=dict(score_threshold=0.02)),
        dict(task='detection', nms=None),
        dict(preprocess=[dict(type='Rotate')]),
        dict(preprocess=[dict(type='Resize', scale=[32, 24])]),
        dict(preprocess=['Resize']),
        dict(input=dict(name='image')),
        dict(input=3),
    ]
    texts = [json.dumps(dict(description, **change)) for change in changed]
    for text in ('', '[]', '{"format": 1', json.dumps(dict(format=1)), *texts):
        tmp_path.joinpath(f'model{ending}.json').write_text(text)
        with pytest.raises(InputError, match='is no description of an exported model of format 1: export it again'):
            Runner(path)


def test_wrong_names_and_precisions_are_said(tmp_path):
    with pytest.raises(InputError, match=r'model.pth must end in .onnx, .xml \(OpenVINO\) or .param \(ncnn\)'):
        Runner(tmp_path / 'model.pth')
    for ending, precision in [('.onnx', 'bf16'), ('.param', 'bf16'), ('.xml', 'int8')]:
        path = tmp_path / f'model{ending}'
        path.touch()
        description = dict(PREPROCESS, format=1, classes=[], outputs=['logits'])
        tmp_path.joinpath(f'model{ending}.json').write_text(json.dumps(description))
        with pytest.raises(InputError, match="precision must be 'fp32', or 'bf16' on OpenVINO"):
            Runner(path, precision=precision)


def test_a_missing_runtime_is_named(tmp_path, monkeypatch):
    path = tmp_path / 'model.onnx'
    path.touch()
    tmp_path.joinpath('model.onnx.json').write_text(
        json.dumps(dict(PREPROCESS, format=1, classes=[], outputs=['logits']))
    )
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
    path, openvino = tmp_path / 'model.xml', MagicMock()
    path.touch()
    description = dict(PREPROCESS, format=1, classes=[], outputs=['logits'], precision=file)
    tmp_path.joinpath('model.xml.json').write_text(json.dumps(description))
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


def test_one_picture_at_a_time_unless_the_model_takes_more():
    sizes = []

    def network(batch):
        sizes.append(len(batch))
        return [batch.sum((1, 2, 3))[:, None]]

    batch = np.random.default_rng(0).random((3, 3, 24, 32), np.float32)
    for dynamic in (False, True):
        runner = runner_of(dict(PREPROCESS, dynamic_batch=dynamic))
        runner._backend = network
        assert runner.infer(batch)[0].shape == (3, 1)
        assert runner.infer(batch)[0] == pytest.approx(batch.sum((1, 2, 3))[:, None])
    assert sizes == [1, 1, 1, 1, 1, 1, 3, 3]
