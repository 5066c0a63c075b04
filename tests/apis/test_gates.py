"""Gates as maps, against what the layers' weights give step by step, and networks with their side path switched off."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn import functional

from menet_mm.apis.gates import draw_map, find_gates, gate_maps, mean_of_stages, switch_gates
from menet_mm.models import MENet, ShuffleNetV1
from menet_mm.models.me_module import channel_shuffle

ARCH = dict(channels=(24, 48), stem_channels=12, side_channels=4, groups=3, depths=(2, 1))
PIXELS = dict(mean=[120, 110, 100], std=[60, 50, 40])


class Model(nn.Module):
    """A backbone behind a library's preparation of its input."""

    def __init__(self, preprocessor: nn.Module, sample: DataSample | DetDataSample, **settings: object) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.data_preprocessor, self.sample = preprocessor, sample
        self.backbone = MENet(ARCH, out_indices=(0, 1), **settings)
        self.backbone.init_weights()
        for module in self.modules():  # as after a training
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
        self.eval()

    @torch.no_grad()
    def run(self, picture: np.ndarray) -> tuple[Tensor, ...]:
        inputs = torch.from_numpy(picture.transpose(2, 0, 1).copy())
        data = self.data_preprocessor(dict(inputs=[inputs], data_samples=[self.sample]))
        return self.backbone(data['inputs'])


@pytest.fixture
def picture() -> np.ndarray:
    return cv2.resize(np.random.default_rng(0).integers(0, 255, (5, 9, 3), np.uint8), (90, 50))


def detector(**settings: object) -> Model:
    sample = DetDataSample(metainfo=dict(img_shape=(50, 90)))
    return Model(DetDataPreprocessor(**PIXELS, bgr_to_rgb=True, pad_size_divisor=32), sample, **settings)


def boxes_of(model: Model) -> Callable[[np.ndarray], dict]:
    return lambda image: dict(boxes=model.run(image))


def by_hand(unit: nn.Module, x: Tensor) -> np.ndarray:
    """The gate of a unit for what enters it, from weights alone: its mean over channels."""

    def norm(x: Tensor, bn: nn.BatchNorm2d) -> Tensor:
        shape = (1, -1, 1, 1)
        scaled = (x - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
        return scaled * bn.weight.view(shape) + bn.bias.view(shape)

    side = unit.side
    y = norm(functional.conv2d(x, unit.compress.conv.weight, groups=unit.compress.conv.groups), unit.compress.bn)
    y = channel_shuffle(y.clamp(min=0), unit.groups)
    merged = norm(functional.conv2d(y, side.merge.conv.weight), side.merge.bn).clamp(min=0)
    stride = unit.depthwise.conv.stride
    evolved = norm(functional.conv2d(merged, side.conv.conv.weight, None, stride, 1), side.conv.bn).clamp(min=0)
    gate = 1 / (1 + torch.exp(-norm(functional.conv2d(evolved, side.evolve.conv.weight), side.evolve.bn)))
    return gate[0].mean(0).numpy()


@torch.no_grad()
def test_maps_are_the_gates_spread_over_the_picture(picture):
    model = detector()
    maps, shown, _ = gate_maps(model, boxes_of(model), picture)
    assert list(maps) == ['stage 1, unit 1', 'stage 1, unit 2', 'stage 2, unit 1']
    assert shown is picture
    rgb = picture[..., ::-1].astype(np.float32).transpose(2, 0, 1)
    normal = (torch.from_numpy(rgb) - torch.tensor(PIXELS['mean'])[:, None, None]) / torch.tensor(PIXELS['std'])[
        :, None, None
    ]
    x = model.backbone.stem(functional.pad(normal, (0, 96 - 90, 0, 64 - 50))[None])
    for stage in (1, 2):
        gate = by_hand(model.backbone.stages[stage - 1][0], x)
        expected = cv2.resize(gate, (96, 64))[:50, :90]
        np.testing.assert_allclose(maps[f'stage {stage}, unit 1'], expected, atol=1e-4)
        x = model.backbone.stages[stage - 1](x)
    means = mean_of_stages(maps)
    assert list(means) == ['stage 1', 'stage 2']
    np.testing.assert_allclose(means['stage 1'], (maps['stage 1, unit 1'] + maps['stage 1, unit 2']) / 2, rtol=1e-5)
    small, shown, _ = gate_maps(model, boxes_of(model), picture, longest=45)
    assert {one.shape for one in small.values()} == {shown.shape[:2]} == {(25, 45)}


def test_a_classifier_s_maps_lie_on_what_its_network_sees(picture):
    model = Model(ClsDataPreprocessor(**PIXELS, to_rgb=True), DataSample())
    maps, shown, _ = gate_maps(model, lambda image: dict(scores=model.run(image[10:42, 20:84])), picture)
    np.testing.assert_array_equal(shown, picture[10:42, 20:84])
    assert {one.shape for one in maps.values()} == {(32, 64)}


@pytest.mark.parametrize('fusion', ['multiply', 'add'])
def test_switched_off_it_is_the_network_without_a_side_path(picture, fusion):
    model, without = detector(side_cfg=dict(fusion=fusion)), detector(side_cfg=None)
    without.load_state_dict({key: value for key, value in model.state_dict().items() if '.side.' not in key})
    usual = model.run(picture)
    with switch_gates(model, 'off'):
        off = model.run(picture)
    with switch_gates(model, 'mean'):
        mean = model.run(picture)
        maps, *_ = gate_maps(model, boxes_of(model), picture)
    with switch_gates(model, 'on'):
        on = model.run(picture)
    for one, other in zip(off, without.run(picture), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(mean[1], usual[1])
    assert not torch.allclose(mean[1], off[1])
    assert all(torch.equal(*pair) for pair in zip(on, usual, strict=True))
    assert all(np.ptp(one) < 1e-4 for one in maps.values())


def test_a_network_without_gates_has_none():
    assert not find_gates(ShuffleNetV1('0.5x-g3'))


def test_the_lowest_value_of_a_map_is_dark_and_the_highest_bright():
    grey = np.full((4, 8, 3), 128, np.uint8)
    ramp = np.tile(np.linspace(0.4, 0.6, 8, dtype=np.float32), (4, 1))
    brightness = draw_map(grey, ramp).mean((0, 2))
    assert brightness.argmin() == 0
    assert brightness.argmax() == 7
    flat = draw_map(grey, np.full((4, 8), 0.5, np.float32))
    assert (flat == flat[0, 0]).all()
