"""Layers that train faster on a CPU: torch's functions and gradients, and torch's own code for all else."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from menet_mm import MENet, MobileNetV1
from menet_mm.models.layers import AveragePool, MatmulConv2d


class Calls(TorchDispatchMode):
    """Names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__.split('.')[0])
        return func(*args, **kwargs or {})


def calls(function, *args):
    with Calls() as mode:
        function(*args)
    return mode.names


def gradients(layer, reference, x):
    """Outputs and all gradients of a layer and of its reference."""
    found = []
    for module in (layer, reference):
        image = x.clone().requires_grad_()
        y = module(image)
        found.append([y, *torch.autograd.grad(y.sin().sum(), [image, *module.parameters()])])
    return found


@pytest.mark.parametrize(
    ('arguments', 'size', 'product'),
    [
        (dict(in_channels=24, out_channels=12, kernel_size=1, groups=3, bias=False), (7, 5), True),
        (dict(in_channels=12, out_channels=24, kernel_size=1), (6, 6), True),
        (dict(in_channels=12, out_channels=24, kernel_size=1, padding=1), (6, 6), False),
        (dict(in_channels=12, out_channels=24, kernel_size=1, stride=2), (6, 6), False),
        (dict(in_channels=12, out_channels=12, kernel_size=3, groups=12), (6, 6), False),
        # Here the gradients of the weights for each picture would be larger than the maps.
        (dict(in_channels=64, out_channels=64, kernel_size=1), (3, 3), False),
    ],
)
def test_convolution_is_that_of_torch(arguments, size, product):
    torch.manual_seed(0)
    layer, reference = MatmulConv2d(**arguments).double(), nn.Conv2d(**arguments).double()
    reference.load_state_dict(layer.state_dict())
    x = torch.rand(2, arguments['in_channels'], *size, dtype=torch.double)
    torch.testing.assert_close(*gradients(layer, reference, x), rtol=1e-12, atol=1e-12)
    assert ('bmm' in calls(layer, x)) == product
    assert ('convolution' in calls(layer, x)) != product


def test_a_single_picture_passes_and_a_wrong_width_does_not():
    layer = MatmulConv2d(6, 12, 1)
    assert layer(torch.rand(6, 4, 4)).shape == (12, 4, 4)
    with pytest.raises(RuntimeError, match='to have 6 channels, but got 4 channels'):
        layer(torch.rand(2, 4, 4, 4))


def test_an_empty_batch_passes():
    x = torch.rand(0, 6, 4, 4, requires_grad=True)
    y = AveragePool()(MatmulConv2d(6, 12, 1, groups=3)(x))
    y.sum().backward()
    assert (y.shape, x.grad.shape) == ((0, 12, 2, 2), x.shape)


@pytest.mark.parametrize('size', [(6, 6), (7, 5), (1, 1)])
def test_average_is_that_of_torch(size):
    x = torch.rand(2, 5, *size, dtype=torch.double)
    layer, reference = AveragePool(), nn.AvgPool2d(3, stride=2, padding=1)
    torch.testing.assert_close(*gradients(layer, reference, x), rtol=1e-12, atol=1e-12)
    assert 'convolution' in calls(layer, x)


@pytest.mark.parametrize(
    'change',
    [
        lambda layer, x: (layer.eval(), x),
        lambda layer, x: (layer, x.contiguous(memory_format=torch.channels_last)),
        lambda layer, x: (layer.to('meta'), x.to('meta')),
    ],
    ids=['inference', 'channels_last', 'other device'],
)
@pytest.mark.parametrize(
    ('make', 'operator'), [(lambda: MatmulConv2d(6, 6, 1), 'convolution'), (AveragePool, 'avg_pool2d')]
)
def test_all_but_a_training_on_a_cpu_is_left_to_torch(make, operator, change):
    layer, x = change(make().train(), torch.rand(2, 6, 4, 4))
    assert operator in calls(layer, x)


def test_average_of_a_mixed_precision_keeps_its_weights():
    with torch.autocast('cpu', torch.bfloat16):
        assert 'avg_pool2d' in calls(AveragePool(), torch.rand(2, 6, 4, 4))


def test_a_compiled_or_exported_training_has_convolutions():
    layer, x = nn.Sequential(MatmulConv2d(6, 6, 1), AveragePool()).train(), torch.rand(2, 6, 4, 4)
    nodes = torch.export.export(layer, (x,)).graph.nodes
    exported = [str(node.target) for node in nodes if node.op == 'call_function']
    assert exported == ['aten.conv2d.default', 'aten.avg_pool2d.default']

    compiled = []

    def backend(module, inputs):
        compiled.extend(node.target for node in module.graph.nodes if node.op == 'call_function')
        return module

    torch.compile(layer, backend=backend, fullgraph=True)(x)
    assert compiled == [torch.conv2d, nn.functional.avg_pool2d]


@pytest.mark.parametrize('backbone', [MENet, MobileNetV1])
def test_backbones_have_them_unless_a_layer_is_given(backbone):
    x = torch.rand(2, 3, 64, 64)
    assert 'bmm' in calls(backbone(out_indices=(0,)), x)
    names = calls(backbone(out_indices=(0,), conv_cfg=dict(type='Conv2d')), x)
    assert 'bmm' not in names
    assert 'convolution' in names
