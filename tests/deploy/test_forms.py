"""Inference forms, in PyTorch and exported, compute what the models compute that they were made of."""

import copy
from collections import Counter
from functools import cache
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

from menet_mm import InputError, MEModule, MENet, MergingEvolution, MobileNetV1, ShuffleNetV1
from menet_mm.checkpoints import write_checkpoint
from menet_mm.deploy import TARGETS, export, to_deploy
from menet_mm.deploy.forms import BLOCKS, LAYOUT_PASSES, PASSES
from menet_mm.deploy.passes.layout import ChannelMap, NetworkLayout
from menet_mm.deploy.passes.rearrange import read_layout
from menet_mm.registry import MODELS

#: As small as the strides allow, and none of whose sides survives a halving without a remainder.
SIZES = [(64, 64), (75, 91)]
LAYOUT = [each.__name__ for each in LAYOUT_PASSES]


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
def features(backbone: nn.Module, sizes: list[tuple[int, int]] = SIZES) -> list[torch.Tensor]:
    """What a backbone makes of an image of each size, in 64 bits, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(1, 3, *size, dtype=torch.float64, generator=generator) for size in sizes]
    return [level for image in images for level in backbone(image)]


def check_features(form: nn.Module, wanted: list[torch.Tensor], sizes: list[tuple[int, int]] = SIZES) -> None:
    assert max(difference(found, of) for found, of in zip(features(form, sizes), wanted, strict=True)) < 1e-9


def shallow(arch: str, backbone: type[MENet] = MENet) -> dict:
    """A variant with two units a stage, which hold every case that a layout distinguishes."""
    return {**backbone.ARCHS[arch], 'depths': (2, 2, 2)}


def is_rearranged(form: nn.Module) -> bool:
    return not any(isinstance(module, MEModule) for module in form.modules())


@pytest.mark.parametrize(
    ('backbone', 'arch'), [(kind, arch) for kind in (MENet, ShuffleNetV1, MobileNetV1) for arch in kind.ARCHS]
)
def test_stages_of_every_variant(backbone, arch):
    model = randomise(backbone(arch, out_indices=(0, 1, 2))).double()
    wanted = features(model, SIZES[1:])
    for target, block in (('torch', None), ('onnxruntime', 8), ('onnxruntime', 16)):
        form = to_deploy(model, target, block)
        check_features(form, wanted, SIZES[1:])
        assert not any(isinstance(module, nn.BatchNorm2d) for module in form.modules())
        # Otherwise ONNX Runtime would be given no more than the others.
        assert is_rearranged(form) == (target == 'onnxruntime' or backbone is MobileNetV1)


@pytest.mark.parametrize('target', ['openvino', 'ncnn'])
@pytest.mark.parametrize('backbone', [MENet, ShuffleNetV1, MobileNetV1])
def test_stages_for_runtimes_that_get_folded_norm_layers_alone(backbone, target):
    model = randomise(backbone(out_indices=(0, 1, 2))).double()
    form = to_deploy(model, target)
    check_features(form, features(model))
    assert {type(module) for module in model.modules()} - {type(module) for module in form.modules()} == {
        nn.BatchNorm2d
    }


#: Networks that pass for all: with a shuffle of three and of four groups, with and without side path, carried padding.
NETWORKS = {
    'menet228': lambda: MENet(shallow('228-12x1-g3'), out_indices=(1, 2)),
    'menet256': lambda: MENet(shallow('256-12x1-g4'), out_indices=(0, 2)),
    'shufflenet050': lambda: ShuffleNetV1(shallow('0.5x-g3', ShuffleNetV1), out_indices=(0, 1, 2)),
    'squeeze': lambda: MENet(shallow('108-8x1-g3'), side_cfg=dict(type='menet_mm.SqueezeExcitation')),
}
#: Each pass switched off, each alone, and a few combinations.
SKIPS = {
    **{f'no {name}': {name} for name in PASSES['onnxruntime']},
    **{f'{name} alone': set(LAYOUT) - {name} for name in LAYOUT},
    'no padding': {name for name in LAYOUT if name.startswith('pad_')},
    'no shuffle moved': {'move_shuffle', 'absorb_shuffle'},
    'padding of groups alone': set(LAYOUT) - {'pad_groups', 'pad_sums'},
    'nothing': set(PASSES['onnxruntime']),
}


@cache
def network_and_features(name: str) -> tuple[nn.Module, list[torch.Tensor]]:
    torch.manual_seed(0)
    model = randomise(NETWORKS[name]()).double()
    return model, features(model, SIZES[1:])


@pytest.mark.parametrize(
    'name', ['menet228', 'menet256', 'shufflenet050', pytest.param('squeeze', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('skip', SKIPS)
def test_any_pass_can_be_left_out(skip, name):
    model, wanted = network_and_features(name)
    for block in BLOCKS:
        check_features(to_deploy(model, 'onnxruntime', block, SKIPS[skip]), wanted, SIZES[1:])


@pytest.mark.parametrize('name', NETWORKS)
def test_random_choices_of_passes(name):
    model, wanted = network_and_features(name)
    rng = np.random.default_rng(0)
    for i in range(6):
        skip = [each for each in PASSES['onnxruntime'] if each != 'fold_norms' and rng.random() < 0.5]
        check_features(to_deploy(model, 'onnxruntime', BLOCKS[i % 2], skip), wanted, SIZES[1:])


@pytest.mark.parametrize('target', TARGETS)
def test_without_folding_norm_layers_stay(target):
    model, wanted = network_and_features('menet228')
    form = to_deploy(model, target, skip='fold_norms')
    check_features(form, wanted, SIZES[1:])
    assert any(isinstance(module, nn.BatchNorm2d) for module in form.modules())
    assert not is_rearranged(form)  # what is moved and padded has no norm layers


def plan(model: MENet, block: int, skip: str | None = None) -> NetworkLayout:
    layout = read_layout(model, block)
    for each in LAYOUT_PASSES:
        if each.__name__ != skip:
            each(layout)
    return layout


@pytest.mark.parametrize('skip', LAYOUT)
def test_each_pass_changes_a_layout(skip):
    """Else it would be without effect on speed."""
    models = [MENet(shallow(arch)) for arch in ('228-12x1-g3', '256-12x1-g4')]
    assert any(plan(model, block) != plan(model, block, skip) for model in models for block in BLOCKS)


def test_passes_are_described_and_found():
    for target in TARGETS:
        assert all(each.__doc__.endswith('.') for each in PASSES[target].values())
    with pytest.raises(InputError, match="unknown pass 'pad_side': did you mean 'pad_side_path'"):
        to_deploy(MENet(), 'onnxruntime', skip=['pad_side', 'pad_stem'])
    with pytest.raises(InputError, match='torch has fold_norms, channels_last'):
        to_deploy(MENet(), 'torch', skip=['pad_stem'])


def test_channel_maps():
    padded = ChannelMap.spaced(6, multiple=4, groups=2)
    assert padded == ChannelMap((0, 1, 2, 4, 5, 6), 8)
    assert padded.dense() == ChannelMap((0, 1, 2, 3, 4, 5), 6)
    assert padded + ChannelMap.spaced(2) == ChannelMap((0, 1, 2, 4, 5, 6, 8, 9), 10)
    # Each position of the target reads the channel that belongs there; where none does, any.
    assert padded.gather(padded.dense()) == [0, 1, 2, 4, 5, 6]
    assert padded.dense().gather(padded) == [0, 1, 2, 0, 3, 4, 5, 0]
    assert padded.select([5, 0]) == ChannelMap((6, 0), 8)


def test_layouts_of_menet_228():
    # Stages whose sums must be made blocked behind Concat: the second with blocks of 8, the third with those of 16.
    for block, plain, identities in ((8, [4], [0, 1, 0]), (16, range(8), [0, 0, 1])):
        layout = plan(MENet('228-12x1-g3'), block)
        assert [i for i, unit in enumerate(layout.units[:8]) if not unit.expands_blocked] == list(plain)
        assert {unit.gated.width % 4 for unit in layout.units} == {0}
        # The first stage's sums are padded with blocks of 8, and what is pooled from them is not.
        assert layout.units[1].branch.width == (240 if block == 8 else 228)
        assert layout.units[5].branch.width == 456
        assert [stage[0].to_blocks for stage in layout.stages] == list(map(bool, identities))
        assert [unit.shuffle for unit in layout.units] == ['absorbed', *15 * ['behind']]
        assert layout.units[0].entering.width == (24 if block == 8 else 32)
        assert {unit.side.width for unit in layout.units} == {16}


class Classifier(nn.Module):
    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.backbone, self.pool, self.fc = backbone, nn.AdaptiveAvgPool2d(1), nn.Linear(width, 10)

    def forward(self, x):
        return self.fc(self.pool(self.backbone(x)[0]).flatten(1))


#: The graphs whose speed was measured: numbers in the weights, and how often operators occur that depend on the layout.
GRAPHS = [
    (MENet, '228-12x1-g3', 8, 978470, dict(Conv=97, Gather=16, AveragePool=4, MaxPool=2)),
    (MENet, '228-12x1-g3', 16, 962743, dict(Conv=99, Gather=16, AveragePool=2, MaxPool=2)),
    (MENet, '256-12x1-g4', 8, 892884, dict(Conv=97, Gather=15, AveragePool=4, MaxPool=2)),
    (MENet, '256-12x1-g4', 16, 893644, dict(Conv=97, Gather=16, AveragePool=4, MaxPool=2)),
    (MENet, '108-8x1-g3', 8, 258497, dict(Conv=98, Gather=16, AveragePool=3, MaxPool=2)),
    (MENet, '108-8x1-g3', 16, 274245, dict(Conv=99, Gather=16, AveragePool=2, MaxPool=1)),
    (ShuffleNetV1, '1x-g3', 8, 909972, dict(Conv=49, Gather=15, AveragePool=4, MaxPool=1)),
    (ShuffleNetV1, '1x-g3', 16, 903248, dict(Conv=49, Gather=16, AveragePool=4, MaxPool=1)),
]


@pytest.mark.parametrize(
    ('backbone', 'arch', 'block', 'weights', 'operators'),
    [GRAPHS[0], *(pytest.param(*graph, marks=pytest.mark.slow) for graph in GRAPHS[1:])],
)
def test_exported_graphs_are_those_that_were_measured(backbone, arch, block, weights, operators):
    model = randomise(Classifier(backbone(arch), backbone.ARCHS[arch]['channels'][-1]))
    form, example = to_deploy(model, 'onnxruntime', block), (torch.rand(1, 3, 64, 64),)
    graph = torch.onnx.export(form, example, opset_version=18, dynamo=True, verbose=False).model_proto.graph
    gates = {} if backbone is ShuffleNetV1 else dict(Sigmoid=16, Mul=16)
    activations = 33 if backbone is ShuffleNetV1 else 65
    fixed = dict(Relu=activations, Concat=3, Add=14, Reshape=1, MatMul=1, **gates)
    assert Counter(node.op_type for node in graph.node) == {**fixed, **operators}
    assert sum(int(np.prod(tensor.dims)) for tensor in graph.initializer) == weights


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
        dict(with_cp=True),
    ],
    ids=str,
)
def test_stages_of_ablations_and_settings(settings):
    # A padded stage that is not returned enters the next one with its padding.
    for blocks, returned in ((BLOCKS, (0, 1, 2)), ((8,), (1,))):
        backbone = randomise(MENet(**{'arch': shallow('228-12x1-g3'), 'out_indices': returned, **settings})).double()
        wanted = features(backbone, SIZES[1:])
        for block in blocks:
            form = to_deploy(backbone, 'onnxruntime', block)
            check_features(form, wanted, SIZES[1:])
            assert is_rearranged(form)


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


def check_that_units_stay(backbone: nn.Module) -> None:
    backbone = randomise(backbone).double()
    form = to_deploy(backbone, 'onnxruntime')
    check_features(form, features(backbone))
    units = [[type(module) for module in model.modules()].count(MEModule) for model in (form, backbone)]
    assert units[0] == units[1] > 0


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
    check_that_units_stay(MENet(arch, out_indices=(0, 1), **settings))


def test_units_that_are_not_known_stay_as_they_are():
    backbone = MENet('108-8x1-g3', out_indices=(0, 1, 2))
    backbone.stages[1][2] = nn.Sequential(backbone.stages[1][2], nn.Dropout())
    check_that_units_stay(backbone)


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
    assert type(form.fc) is not nn.Linear
    assert isinstance(form.layer.linear1, nn.Linear)


@pytest.mark.parametrize('target', TARGETS)
def test_the_model_stays_as_it_was(target):
    model = MENet('108-8x1-g3', frozen_stages=1).train()
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
    form = to_deploy(MENet('108-8x1-g3').to('meta'), 'onnxruntime')
    assert {str(tensor.device) for tensor in form.state_dict().values()} == {'meta'}
    model = MENet('108-8x1-g3')
    with torch.device('meta'):
        form = to_deploy(model, 'onnxruntime')
    assert {str(tensor.device) for tensor in form.state_dict().values()} == {'cpu'}


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


@pytest.mark.parametrize('config', ['menet108_in1k', 'menet228_in1k', 'shufflenet050_in1k', 'r50_meplugin_in1k'])
@torch.no_grad()
def test_logits_of_classifiers(config):
    model = build(config).double()
    image = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    wanted = model(image)
    for target in TARGETS:
        assert difference(to_deploy(model, target)(image), wanted) < 1e-9


def widen_scores(model: nn.Module) -> nn.Module:
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


@pytest.mark.parametrize(
    'config',
    ['ssd_menet108_voc', pytest.param('ssd_shufflenet050_voc', marks=pytest.mark.slow), 'faster_rcnn_menet108_voc'],
)
@torch.no_grad()
def test_predictions_of_detectors(config):
    model = widen_scores(build(config))
    size = (300, 300)
    image = torch.randn(1, 3, *size)

    def predict(network: nn.Module):
        sample = DetDataSample(
            metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0), batch_input_shape=size, img_id=0)
        )
        return network.predict(image, [sample])[0].pred_instances.numpy()

    double = copy.deepcopy(model).double()
    wanted, outputs = predict(model), raw_outputs(double, image.double())
    assert len(wanted) > 20
    for target in ('torch', 'onnxruntime'):
        raw = raw_outputs(to_deploy(double, target), image.double())
        assert max(difference(found, output) for found, output in zip(raw, outputs, strict=True)) < 1e-9
        found = predict(to_deploy(model, target))
        assert len(found) == len(wanted)
        for box, score, label in zip(wanted.bboxes, wanted.scores, wanted.labels, strict=True):
            apart = np.abs(found.bboxes - box).max(1) + 100 * np.abs(found.scores - score)
            assert (apart + 1000 * (found.labels != label)).min() < 0.1


PUBLISHED = [path.stem for kind in ('*_in1k.py', 'ssd_*_voc.py') for path in sorted(Path('configs').glob(kind))]
ENDINGS = ('onnx', 'xml', 'param')


def with_a_runtime_each() -> list:
    """Every network with every runtime; MENet-228 with all of them, the others with one in turn, the rest is exhaustive."""
    return [
        pytest.param(
            network, ending, marks=[pytest.mark.exhaustive] * ('menet228' not in network and turn % 3 != place)
        )
        for turn, network in enumerate(PUBLISHED)
        for place, ending in enumerate(ENDINGS)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(('network', 'ending'), with_a_runtime_each())
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
