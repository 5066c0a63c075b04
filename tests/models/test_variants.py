import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from menet_mm import MENet

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
