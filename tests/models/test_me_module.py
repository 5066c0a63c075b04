import pytest
import torch
from torch import nn

from menet_mm import InputError, MEModule, MergingEvolution, SqueezeExcitation
from menet_mm.models.me_module import channel_shuffle


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=str)
def test_channel_shuffle_is_that_of_torch_and_keeps_the_memory_format(memory_format):
    x = torch.rand(2, 12, 3, 5).contiguous(memory_format=memory_format)
    shuffled = channel_shuffle(x, groups=3)
    assert torch.equal(shuffled, nn.functional.channel_shuffle(x, 3))
    assert shuffled.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(('stride', 'size', 'expected'), [(1, 9, 9), (2, 9, 5), (2, 8, 4), (2, 1, 1)])
def test_shapes(stride, size, expected):
    unit = MEModule(24 if stride == 2 else 96, 96, side_channels=8, groups=3, stride=stride).eval()
    assert unit(torch.rand(2, 24 if stride == 2 else 96, size, size)).shape == (2, 96, expected, expected)


def test_side_path_lets_all_groups_talk():
    """Without the side path an output group depends on one bottleneck group; with it on all of them."""
    torch.manual_seed(0)
    unit = MEModule(24, 24, side_channels=4, groups=3).double().eval()
    for module in unit.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    x = torch.rand(1, 24, 4, 4, dtype=torch.double, requires_grad=True)
    y = unit.compress(x)
    (unit.side(y)[0, 0].sum()).backward()
    assert (x.grad.abs().sum(dim=(0, 2, 3)) > 0).all()


def test_gate_lies_between_0_and_1_and_follows_the_stride():
    gate = MergingEvolution(27, 8, stride=2).eval()(torch.randn(2, 27, 7, 7))
    assert gate.shape == (2, 27, 4, 4)
    assert 0 < gate.min() <= gate.max() < 1


def test_unit_follows_the_papers_equations():
    """The forward pass, written out from the paper with torch's own functions."""
    torch.manual_seed(0)
    unit = MEModule(24, 96, side_channels=8, groups=3, stride=2).double().train()
    x = torch.rand(2, 24, 9, 9, dtype=torch.double)

    def layer(module, x, act=None):
        conv, bn = module.conv, module.bn
        x = nn.functional.conv2d(x, conv.weight, None, conv.stride, conv.padding, 1, conv.groups)
        x = nn.functional.batch_norm(x, None, None, bn.weight, bn.bias, training=True, eps=1e-5)
        return act(x) if act else x

    y = layer(unit.compress, x, torch.relu)
    y = y.view(2, 3, 8, 9, 9).transpose(1, 2).reshape(2, 24, 9, 9)
    d = layer(unit.depthwise, y)
    m = layer(unit.side.merge, y, torch.relu)
    e = layer(unit.side.evolve, layer(unit.side.conv, m, torch.relu), torch.sigmoid)
    z = layer(unit.expand, d * e)
    expected = torch.relu(torch.cat([z, nn.functional.avg_pool2d(x, 3, 2, 1)], dim=1))
    torch.testing.assert_close(unit(x), expected, rtol=1e-12, atol=1e-12)


def test_checkpointing_changes_memory_not_gradients():
    torch.manual_seed(0)
    unit = MEModule(24, 24, side_channels=4, groups=3).double().eval()
    x = torch.rand(2, 24, 5, 5, dtype=torch.double, requires_grad=True)
    (plain,) = torch.autograd.grad(unit(x).square().sum(), x)
    unit.with_cp = True
    (checkpointed,) = torch.autograd.grad(unit(x).square().sum(), x)
    torch.testing.assert_close(plain, checkpointed)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=24, out_channels=100, groups=3, stride=2), 'divisible by 4 \\* groups'),
        (dict(in_channels=25, out_channels=96, groups=3, stride=2), 'cannot be split into 3 groups'),
        (dict(in_channels=24, out_channels=96, groups=3), 'keeps its width'),
        (dict(in_channels=96, out_channels=96, groups=3, stride=2), 'must widen'),
        (dict(in_channels=96, out_channels=96, groups=3, stride=3), 'stride must be 1 or 2'),
        (dict(in_channels=96, out_channels=96, groups=0), 'divisible by 4 \\* groups'),
        (dict(in_channels=96, out_channels=96, groups=3, side_channels=0), 'positive widths'),
    ],
)
def test_impossible_settings_are_explained(arguments, message):
    with pytest.raises(InputError, match=message):
        MEModule(**{'side_channels': 8, **arguments})


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
