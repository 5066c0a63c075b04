"""Inference forms, in PyTorch and exported, compute what the models compute that they were made of."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.cnn import ConvModule
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope
from torch import nn

from menet_mm import InputError, MENet, MergingEvolution, MobileNetV1, ShuffleNetV1
from menet_mm.checkpoints import write_checkpoint
from menet_mm.deploy import TARGETS, export, to_deploy
from menet_mm.deploy.forms import BlockedUnit, TransposedLinear
from menet_mm.registry import MODELS

#: As small as the strides allow, and none of whose sides survives a halving without a remainder.
SIZES = [(64, 64), (75, 91)]


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randomise(model: nn.Module) -> nn.Module:
    """Give every norm layer random statistics, weights and biases, and every PReLU its own slope, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
        if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
        if isinstance(module, nn.PReLU):
            nn.init.uniform_(module.weight, 0.1, 0.9)
    return model.eval()


def difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


@torch.no_grad()
def check_stages(backbone: nn.Module, target: str, block: int | None = None) -> nn.Module:
    """Compare all stages with 64-bit numbers, and return the inference form."""
    backbone = randomise(backbone).double()
    form = to_deploy(backbone, target, block)
    for size in SIZES:
        image = torch.randn(2, 3, *size, dtype=torch.float64)
        for found, wanted in zip(form(image), backbone(image), strict=True):
            assert difference(found, wanted) < 1e-9
    assert not any(isinstance(module, nn.BatchNorm2d) for module in form.modules())
    return form


def rearranged(form: nn.Module) -> list[BlockedUnit]:
    return [module for module in form.modules() if isinstance(module, BlockedUnit)]


@pytest.mark.parametrize(('target', 'block'), [('torch', None), ('onnxruntime', 8), ('onnxruntime', 16)])
@pytest.mark.parametrize(
    ('backbone', 'arch'), [(kind, arch) for kind in (MENet, ShuffleNetV1, MobileNetV1) for arch in kind.ARCHS]
)
def test_stages_of_every_variant(backbone, arch, target, block):
    form = check_stages(backbone(arch, out_indices=(0, 1, 2)), target, block)
    # Otherwise ONNX Runtime would be given no more than the others.
    assert len(rearranged(form)) == (16 if target == 'onnxruntime' and backbone is not MobileNetV1 else 0)


@pytest.mark.parametrize('target', ['openvino', 'ncnn'])
@pytest.mark.parametrize('backbone', [MENet, ShuffleNetV1, MobileNetV1])
def test_stages_for_runtimes_that_get_folded_norm_layers_alone(backbone, target):
    assert not rearranged(check_stages(backbone(out_indices=(0, 1, 2)), target))


def test_all_layouts_of_units_are_there():
    """Else some went untested above."""
    # Stages whose sums must be made blocked behind Concat: the second with blocks of 8, the third with those of 16.
    for block, plain, identities in ((8, [0, 0, 0, 0, 1, 0, 0, 0], [0, 1, 0]), (16, 8 * [1], [0, 0, 1])):
        form = to_deploy(MENet('228-12x1-g3'), 'onnxruntime', block)
        units = rearranged(form)
        assert [unit.expands_blocked for unit in units[:8]] == [not unit for unit in plain]
        assert {unit.depthwise.out_channels % 4 for unit in units} == {0}
        # The first stage's sums are padded with blocks of 8, and what is pooled from them is not.
        assert units[1].expand.out_channels == (240 if block == 8 else 228)
        assert units[5].expand.out_channels == 456
        assert [isinstance(stage[0], nn.Sequential) for stage in form.stages] == list(map(bool, identities))


@pytest.mark.parametrize(
    'settings',
    [
        dict(side_cfg=None),
        dict(side_cfg=dict(conv=False)),
        dict(side_cfg=dict(fusion='add')),
        dict(side_cfg=dict(fusion='add', conv=False)),
        dict(side_cfg=dict(type='menet_mm.SqueezeExcitation')),
        dict(side_cfg=dict(side_channels=5)),
        dict(side_cfg=dict(side_channels=32)),
        dict(act_cfg=dict(type='LeakyReLU')),
        # 0.5 of 0, so that it shows if a padded channel gets where it must not.
        dict(act_cfg=dict(type='Sigmoid')),
        dict(act_cfg=dict(type='ReLU6')),
        # Each learns a slope of its own.
        dict(act_cfg=dict(type='PReLU')),
        dict(act_cfg=dict(type='PReLU'), side_cfg=dict(type='menet_mm.SqueezeExcitation')),
        dict(act_cfg=dict(type='ReLU', inplace=True)),
        dict(norm_cfg=dict(type='BN', eps=0.1)),
        dict(
            arch=dict(channels=(64, 96), stem_channels=8, side_channels=3, groups=2, depths=(1, 2)), out_indices=(0, 1)
        ),
        dict(arch='256-12x1-g4', with_cp=True),
    ],
    ids=str,
)
def test_stages_of_ablations_and_settings(settings):
    # A padded stage that is not returned enters the next one with its padding.
    for block, returned in ((8, (0, 1, 2)), (8, (1,)), (16, (0, 1, 2))):
        backbone = MENet(**{'arch': '228-12x1-g3', 'out_indices': returned, **settings})
        assert rearranged(check_stages(backbone, 'onnxruntime', block))


@MODELS.register_module()
class ScaledGate(MergingEvolution):
    """One of the user's own: a learned scale of each channel, in front of the gate."""

    def __init__(self, channels: int, **kwargs) -> None:
        super().__init__(channels, **kwargs)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, y):
        return super().forward(y * self.scale)


@MODELS.register_module()
class RowMeans(BaseModule):
    """One that shares no class with ours."""

    def __init__(self, channels: int, side_channels: int, stride: int, conv_cfg, norm_cfg, act_cfg) -> None:
        super().__init__()
        self.conv = ConvModule(channels, channels, 3, stride=stride, padding=1, norm_cfg=norm_cfg, act_cfg=act_cfg)

    def fuse(self, d, y):
        return d + self.conv(y).mean(3, keepdim=True)


@pytest.mark.parametrize(
    'settings',
    [
        dict(side_cfg=dict(type='menet_mm.ScaledGate')),
        dict(side_cfg=dict(type='menet_mm.RowMeans')),
        dict(norm_cfg=dict(type='GN', num_groups=1)),
        dict(conv_cfg=dict(type='Conv2dAdaptivePadding')),
    ],
    ids=str,
)
def test_layers_that_are_not_known_stay_as_they_are(settings):
    # No width needs padding, so that a wrong order of channels would fit.
    arch = dict(channels=(64, 128), stem_channels=16, side_channels=16, groups=2, depths=(2, 2))
    assert not rearranged(check_stages(MENet(arch, out_indices=(0, 1), **settings), 'onnxruntime'))


def test_units_that_are_not_known_stay_as_they_are():
    backbone = MENet('108-8x1-g3', out_indices=(0, 1, 2))
    backbone.stages[1][2] = nn.Sequential(backbone.stages[1][2], nn.Dropout())
    assert not rearranged(check_stages(backbone, 'onnxruntime'))


class Attentive(BaseModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 2, 16, batch_first=True)
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.layer(x))


@torch.no_grad()
def test_linear_layers_of_attention_stay_as_they_are():
    """torch reads their weights past their forward."""
    model = Attentive().double().eval()
    form = to_deploy(model, 'onnxruntime')
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    assert difference(form(x), model(x)) < 1e-12
    assert [type(module) for module in form.modules()].count(TransposedLinear) == 1


@pytest.mark.parametrize('target', TARGETS)
def test_the_model_stays_as_it_was(target):
    model = MENet('228-12x1-g3', frozen_stages=1).train()
    before = copy.deepcopy(model)
    form = to_deploy(model, target)
    assert not form.training
    assert not any(parameter.requires_grad for parameter in form.parameters())
    assert not {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in form.parameters()}
    assert str(model) == str(before)
    state, wanted = model.state_dict(), before.state_dict()
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[key], wanted[key]) for key in wanted)
    for module, was in zip(model.modules(), before.modules(), strict=True):
        assert module.training == was.training
    for parameter, was in zip(model.parameters(), before.parameters(), strict=True):
        assert parameter.requires_grad == was.requires_grad
        assert parameter.stride() == was.stride()


def test_torch_gets_channels_last_weights():
    form = to_deploy(MENet('108-8x1-g3'), 'torch')
    convolutions = [module.weight for module in form.modules() if isinstance(module, nn.Conv2d)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in convolutions)


def test_the_form_stays_on_the_device_of_the_model():
    form = to_deploy(MENet('352-12x1-g8').to('meta'), 'onnxruntime')
    assert {str(tensor.device) for tensor in form.state_dict().values()} == {'meta'}


def test_what_has_no_inference_form_is_said():
    with pytest.raises(InputError, match="unknown target 'tensorrt': choose one of torch, onnxruntime, openvino, ncnn"):
        to_deploy(MENet(), 'tensorrt')
    with pytest.raises(InputError, match='unknown block 32: choose one of 8, 16'):
        to_deploy(MENet(), 'onnxruntime', 32)
    for kind in ('ConvWS', 'ConvAWS'):
        with pytest.raises(InputError, match='convolutions that standardize their weights: use conv_cfg=None'):
            to_deploy(MENet(conv_cfg=dict(type=kind)))


def build(config: str) -> nn.Module:
    cfg = Config.fromfile(f'configs/{config}.py')
    init_default_scope(cfg.default_scope)
    return randomise(ROOT_MODELS.build(cfg.model))


@pytest.mark.parametrize('target', TARGETS)
@pytest.mark.parametrize('config', ['menet108_in1k', 'menet228_in1k', 'shufflenet050_in1k', 'r50_meplugin_in1k'])
def test_logits_of_classifiers(config, target):
    model = build(config).double()
    image = torch.randn(2, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        assert difference(to_deploy(model, target)(image), model(image)) < 1e-9


def spread(model: nn.Module) -> nn.Module:
    """Let an untrained detector find something, with scores that rounding does not bring out of their order."""
    for name, module in model.named_modules():
        last = name.endswith(('rpn_cls', 'rpn_reg', 'fc_cls', 'fc_reg')) or ('convs.' in name and 'bbox_head' in name)
        if last and isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=2 / np.sqrt(module.weight[0].numel()))
    return model


def raw_outputs(detector: nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """What a detector computes up to its non-maximum suppression, which takes 32-bit numbers alone."""
    features = detector.extract_feat(image)
    if not hasattr(detector, 'roi_head'):
        return [level for part in detector.bbox_head(features) for level in part]
    rois = torch.rand(16, 4, dtype=image.dtype, generator=torch.Generator().manual_seed(0)) * 150
    rois = torch.cat([torch.zeros(16, 1), rois[:, :2], rois[:, :2] + rois[:, 2:]], dim=1)
    found = detector.roi_head._bbox_forward(features, rois.to(image.dtype))
    return [level for part in detector.rpn_head(features) for level in part] + [found['cls_score'], found['bbox_pred']]


@pytest.mark.parametrize('target', ['torch', 'onnxruntime'])
@pytest.mark.parametrize('config', ['ssd_menet108_voc', 'ssd_shufflenet050_voc', 'faster_rcnn_menet108_voc'])
@torch.no_grad()
def test_predictions_of_detectors(config, target):
    model = spread(build(config))
    size = (300, 300)
    image = torch.randn(1, 3, *size)
    double = copy.deepcopy(model).double()
    outputs = [raw_outputs(network, image.double()) for network in (to_deploy(double, target), double)]
    assert max(difference(found, wanted) for found, wanted in zip(*outputs, strict=True)) < 1e-9

    def predict(network: nn.Module):
        sample = DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), batch_input_shape=size, img_id=0)
        )
        return network.predict(image, [sample])[0].pred_instances.numpy()

    found, wanted = predict(to_deploy(model, target)), predict(model)
    assert len(found) == len(wanted) > 20
    for box, score, label in zip(wanted.bboxes, wanted.scores, wanted.labels, strict=True):
        apart = np.abs(found.bboxes - box).max(1) + 100 * np.abs(found.scores - score) + 1000 * (found.labels != label)
        assert apart.min() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['onnx', 'xml', 'param'])
@pytest.mark.parametrize(
    'network', [path.stem for kind in ('*_in1k.py', 'ssd_*_voc.py') for path in sorted(Path('configs').glob(kind))]
)
def test_exported_networks_compute_the_same_of_photographs(network, ending, voc_root, tmp_path):
    config = f'configs/{network}.py'
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    model = randomise(ROOT_MODELS.build(cfg.model))
    checkpoint = tmp_path / 'random.pth'
    write_checkpoint(checkpoint, model.state_dict(), {})
    names = Path(voc_root, 'VOC2007/ImageSets/Main/test.txt').read_text().split()[:2]
    images = [cv2.imread(f'{voc_root}/VOC2007/JPEGImages/{name}.jpg') for name in names]
    # It raises an error if logits, scores or boxes differ by more than it allows.
    found = export(config, str(checkpoint), tmp_path / f'model.{ending}', images)
    assert found.scores > 0 or found.boxes > 0  # something was compared: kernels of other runtimes round differently
