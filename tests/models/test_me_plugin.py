import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope

from menet_mm import InputError, MEPlugin, MergingEvolution


def test_keeps_the_shape_and_gates_with_the_units_operations():
    plugin = MEPlugin(32, side_channels=4).eval()
    x = torch.randn(2, 32, 7, 5)
    assert isinstance(plugin.side, MergingEvolution)
    torch.testing.assert_close(plugin(x), x * plugin.side(x))


def test_every_block_of_mmdets_resnet_gets_one():
    init_default_scope('mmdet')
    plugin = dict(cfg=dict(type='menet_mm.MEPlugin', side_channels=4), position='after_conv2')
    net = MODELS.build(dict(type='ResNet', depth=50, base_channels=8, stem_channels=8, plugins=[plugin]))
    assert sum(isinstance(m, MEPlugin) for m in net.modules()) == 16
    assert [f.shape[1] for f in net(torch.rand(1, 3, 64, 64))] == [32, 64, 128, 256]


def test_impossible_width_is_explained():
    with pytest.raises(InputError, match='positive widths'):
        MEPlugin(32, side_channels=0)
