"""Our networks as pytorchcv implements them, with every number random."""

import pytest
import torch
from pytorchcv.model_provider import get_model
from torch import nn

#: pytorchcv's names of our variants.
NAMES = {
    ('MENet', '108-8x1-g3'): 'menet108_8x1_g3',
    ('MENet', '128-8x1-g4'): 'menet128_8x1_g4',
    ('MENet', '160-8x1-g8'): 'menet160_8x1_g8',
    ('MENet', '228-12x1-g3'): 'menet228_12x1_g3',
    ('MENet', '256-12x1-g4'): 'menet256_12x1_g4',
    ('MENet', '348-12x1-g3'): 'menet348_12x1_g3',
    ('MENet', '352-12x1-g8'): 'menet352_12x1_g8',
    ('MENet', '456-24x1-g3'): 'menet456_24x1_g3',
    ('ShuffleNetV1', '1x-g3'): 'shufflenet_g3_w1',
    ('ShuffleNetV1', '0.5x-g3'): 'shufflenet_g3_wd2',
    ('MobileNetV1', '1.0'): 'mobilenet_w1',
    ('MobileNetV1', '0.5'): 'mobilenet_wd2',
    ('MobileNetV1', '0.25'): 'mobilenet_wd4',
}


@pytest.fixture(scope='session')
def theirs():
    """Build pytorchcv's network of one of our variants; norm layers have random statistics, weights and biases."""

    def build(arch: str, backbone: str = 'MENet', **kwargs) -> nn.Module:
        torch.manual_seed(1)
        net = get_model(NAMES[backbone, arch], **kwargs).eval()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.uniform_(module.bias, -0.5, 0.5)
        return net

    return build
