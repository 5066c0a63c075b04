import pytest
import torch

from benchmarks.build import build_function, input_size
from benchmarks.contestant import Contestant


@pytest.mark.parametrize('source', ['pytorchcv', 'menet_mm'])
def test_activations_are_of_a_trained_networks_scale(source):
    """With pytorchcv's initial weights they reach 275, and the sigmoids' exponentials are denormal numbers."""
    network = build_function(Contestant('menet228_in1k', source, 'torch', 'plain'))
    largest = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, inputs, output: largest.append(output.abs().max().item()))
    with torch.no_grad():
        network(torch.rand(1, 3, *input_size('menet228_in1k')))
    assert len(largest) == 97
    assert 0.1 < max(largest) < 50
