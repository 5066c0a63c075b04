"""The rival networks, and the ablations of MENet, have MENet's interface."""

import pytest
import torch
from torch import nn

from menet_mm import InputError, MEModule, MENet, MobileNetV1, ShuffleNetV1, SqueezeExcitation

RIVALS = [(ShuffleNetV1, arch) for arch in ShuffleNetV1.ARCHS] + [(MobileNetV1, arch) for arch in MobileNetV1.ARCHS]


@pytest.mark.parametrize(('backbone', 'arch'), RIVALS)
def test_taps_are_menets(backbone, arch):
    net = backbone(arch, out_indices=(0, 1, 2)).eval()
    shapes = [tuple(f.shape[1:]) for f in net(torch.rand(1, 3, 65, 97))]
    sizes = [(9, 13), (5, 7), (3, 4)]
    assert shapes == [(c, *size) for c, size in zip(backbone.ARCHS[arch]['channels'], sizes, strict=True)]


@pytest.mark.parametrize('backbone', [ShuffleNetV1, MobileNetV1])
def test_options_are_menets(backbone):
    net = backbone(frozen_stages=1, norm_eval=True, norm_cfg=dict(type='SyncBN'), act_cfg=dict(type='ReLU6')).train()
    frozen = {name.split('.')[0] + name.split('.')[1] for name, p in net.named_parameters() if not p.requires_grad}
    assert {name for name in frozen if 'stages' in name} == {'stages0'}
    assert any('stem' in name for name in frozen)
    assert not any(m.training for m in net.modules() if isinstance(m, nn.SyncBatchNorm))
    assert any(isinstance(m, nn.ReLU6) for m in net.modules())
    with pytest.raises(InputError, match='stages in 0..2'):
        backbone(out_indices=(3,))
    with pytest.raises(InputError, match="unknown arch '2x'"):
        backbone('2x')


@pytest.mark.parametrize('backbone', [ShuffleNetV1, MobileNetV1])
def test_checkpointing_changes_memory_not_gradients(backbone):
    torch.manual_seed(0)
    plain = backbone().double().eval()
    saving = backbone(with_cp=True).double().eval()
    saving.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64, dtype=torch.double, requires_grad=True)
    expected, given = (torch.autograd.grad(net(x)[0].square().sum(), x)[0] for net in (plain, saving))
    torch.testing.assert_close(given, expected)


def test_the_width_of_mobilenet_may_be_a_number():
    """As which --cfg-options reads it."""
    assert MobileNetV1(0.5).stages[2][1].pointwise_conv.conv.out_channels == 512
    for arch in (0.3, [0.5]):
        with pytest.raises(InputError, match='unknown arch'):
            MobileNetV1(arch)


def test_mobilenet_is_initialized_by_fan_in():
    torch.manual_seed(0)
    net = MobileNetV1()
    net.init_weights()
    weight = net.stages[2][0].pointwise_conv.conv.weight  # 1024 x 512
    assert weight.std().item() == pytest.approx((2 / 512) ** 0.5, rel=0.02)


def test_shufflenet_is_menet_without_the_side_path():
    arch = dict(ShuffleNetV1.ARCHS['0.5x-g3'], side_channels=8)
    menet, shufflenet = MENet(arch, side_cfg=None).eval(), ShuffleNetV1('0.5x-g3').eval()
    menet.load_state_dict(shufflenet.state_dict())  # strict
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(menet(x)[0], shufflenet(x)[0])


@pytest.mark.parametrize(
    ('side_cfg', 'removed'),
    [
        (None, 2 * 24 * 8 + 9 * 64 + 2 * (8 + 8 + 24)),
        (dict(conv=False), 9 * 64 + 2 * 8),
        (dict(fusion='add'), 0),
        (dict(side_channels=4), 2 * 24 * 4 + 9 * (64 - 16) + 2 * 8),
    ],
)
@pytest.mark.parametrize('stride', [1, 2])
def test_ablations_take_away_what_they_say(side_cfg, removed, stride):
    """b is 24 and k is 8; weights and both vectors of each norm layer are counted."""
    widths = (96 if stride == 1 else 24, 96)
    whole = MEModule(*widths, side_channels=8, groups=3, stride=stride)
    unit = MEModule(*widths, side_channels=8, groups=3, stride=stride, side_cfg=side_cfg).eval()
    count = [sum(p.numel() for p in m.parameters()) for m in (whole, unit)]
    assert count[0] - count[1] == removed
    assert unit(torch.rand(1, widths[0], 7, 7)).shape == (1, 96, -(-7 // stride), -(-7 // stride))


def test_addition_adds_a_signed_map():
    torch.manual_seed(0)
    unit = MEModule(96, 96, side_channels=8, groups=3, side_cfg=dict(fusion='add')).eval()
    d, y = torch.rand(1, 24, 5, 5), torch.randn(1, 24, 5, 5)
    assert torch.equal(unit.side.fuse(d, y), d + unit.side(y))
    assert unit.side(y).min() < 0


@pytest.mark.parametrize(('channels', 'k'), [(27, 8), (114, 12), (456, 24)])
def test_squeeze_and_excitation_costs_as_much(channels, k):
    """Weights of convolutions, within what one hidden channel more or less makes."""
    se = SqueezeExcitation(channels, k)
    weights = sum(m.weight.numel() for m in se.modules() if isinstance(m, nn.Conv2d))
    assert abs(weights - (2 * channels * k + 9 * k * k)) <= channels
    gate = se.eval()(torch.randn(2, channels, 5, 5))
    assert gate.shape == (2, channels, 1, 1)
    assert 0 < gate.min() <= gate.max() < 1


def test_impossible_side_paths_are_explained():
    with pytest.raises(InputError, match="fusion must be 'multiply' or 'add'"):
        MEModule(96, 96, 8, 3, side_cfg=dict(fusion='concat'))
    with pytest.raises(InputError, match='positive widths'):
        MEModule(96, 96, 8, 3, side_cfg=dict(type='menet_mm.SqueezeExcitation', side_channels=0))
