import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from torch import nn

from menet_mm import InputError, MENet

#: Parameters and millions of multiply-adds (convolutions and linear layer, 224 px), counted on an implementation that is not
#: ours. The authors give whole millions of six variants, with which these agree: 38, 144, 140, 299, 144, 551.
PUBLISHED = {
    '108-8x1-g3': (654_516, 38.29),
    '128-8x1-g4': (750_796, 40.92),
    '160-8x1-g8': (850_120, 39.27),
    '228-12x1-g3': (1_806_568, 144.09),
    '256-12x1-g4': (1_888_240, 140.84),
    '348-12x1-g3': (3_368_128, 299.62),
    '352-12x1-g8': (2_272_872, 144.28),
    '456-24x1-g3': (5_304_784, 551.05),
}
#: The rivals, by config, counted in the same way.
RIVALS = {
    'shufflenet1x': (1_865_728, 137.46),
    'shufflenet050': (718_324, 37.59),
    'mobilenet050': (1_331_592, 149.50),
    'mobilenet025': (470_072, 41.03),
}
CLASSIFIERS = {f'menet{arch.split("-")[0]}': counts for arch, counts in PUBLISHED.items()} | RIVALS
SMALL = dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=3, depths=(2, 2, 1))


def test_all_published_variants_are_there():
    assert set(MENet.ARCHS) == set(PUBLISHED)


@pytest.mark.parametrize('name', CLASSIFIERS)
def test_parameters_and_macs_of_the_classifiers(name):
    init_default_scope('mmpretrain')
    model = MODELS.build(Config.fromfile(f'configs/{name}_in1k.py').model).eval()
    params, macs = CLASSIFIERS[name]
    assert sum(p.numel() for p in model.parameters()) == params
    by_operator = FlopAnalyzer(model, torch.rand(1, 3, 224, 224)).by_operator()
    # mmengine counts norm and pooling layers too; the paper does not.
    assert (by_operator['conv'] + by_operator['linear']) / 1e6 == pytest.approx(macs, abs=0.005)


@pytest.mark.parametrize('arch', PUBLISHED)
def test_strides_and_channels(arch):
    net = MENet(arch, out_indices=(0, 1, 2)).eval()
    width = MENet.ARCHS[arch]['channels'][0]
    shapes = [tuple(f.shape[1:]) for f in net(torch.rand(1, 3, 65, 97))]
    assert shapes == [(width, 9, 13), (2 * width, 5, 7), (4 * width, 3, 4)]


@pytest.mark.parametrize('size', [(32, 32), (33, 47), (64, 32)])
def test_small_and_odd_inputs(size):
    (out,) = MENet('108-8x1-g3')(torch.rand(2, 3, *size))
    assert out.shape == (2, 432, -(-size[0] // 32), -(-size[1] // 32))


def test_out_indices_choose_the_maps():
    net = MENet(SMALL, out_indices=(0, 1)).eval()
    x = torch.rand(1, 3, 64, 64)
    low, high = net(x)
    net.out_indices = (1,)
    assert [len(net(x)), low.shape[1], high.shape[1]] == [1, 24, 48]


@pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3])
def test_frozen_stages_do_not_move(frozen_stages):
    net = MENet(SMALL, frozen_stages=frozen_stages).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad] or [torch.zeros(1)], lr=1.0)
    loss = net(torch.rand(2, 3, 64, 64))[0].square().sum()
    if loss.requires_grad:
        loss.backward()
    optimizer.step()
    moved = {
        k.split('.')[0] + k.split('.')[1] * k.startswith('stages')
        for k, v in net.state_dict().items()
        if (v != before[k]).any()
    }
    names = ['stem', 'stages0', 'stages1', 'stages2']
    assert moved == set(names[frozen_stages + 1 :])


def test_norm_eval_keeps_statistics_but_trains_weights():
    net = MENet(SMALL, norm_eval=True).train()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(m.training for m in norms)
    assert all(p.requires_grad for p in net.parameters())


def test_layer_configs_reach_every_layer():
    net = MENet(SMALL, norm_cfg=dict(type='GN', num_groups=1), act_cfg=dict(type='SiLU'))
    kinds = {type(m) for m in net.modules()}
    assert nn.GroupNorm in kinds
    assert nn.SiLU in kinds
    assert not {nn.BatchNorm2d, nn.ReLU} & kinds


def test_authors_initialization():
    torch.manual_seed(0)
    net = MENet('456-24x1-g3')
    net.init_weights()
    conv = net.stages[2][1].side.merge.conv  # k x 456
    assert conv.weight.std().item() == pytest.approx((2 / 24) ** 0.5, rel=0.05)
    assert all((m.weight == 1).all() and (m.bias == 0).all() for m in net.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(arch=228), "unknown arch '228'"),
        (dict(arch='228-12x1'), "unknown arch '228-12x1': choose one of 108-8x1-g3"),
        (dict(arch=dict(channels=(24,))), 'must have exactly the keys'),
        (dict(arch=dict(SMALL, depths=(2,))), 'one width and one positive depth'),
        (dict(arch=dict(SMALL, groups=5)), 'divisible by 4 \\* groups'),
        (dict(arch=dict(SMALL, stem_channels=24)), 'must widen'),
        (dict(out_indices=(3,)), 'stages in 0..2'),
        (dict(out_indices=()), 'stages in 0..2'),
        (dict(frozen_stages=4), '-1..3'),
    ],
)
def test_impossible_settings_are_explained(arguments, message):
    with pytest.raises(InputError, match=message):
        MENet(**arguments)
