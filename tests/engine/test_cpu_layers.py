"""Layers that train faster on a CPU: torch's functions and gradients, and torch's own code in all other cases."""

import copy

import pytest
import torch
from mmcv.cnn.bricks import ConvWS2d
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.registry import init_default_scope
from torch import nn

from menet_mm import MENet, MobileNetV1
from menet_mm.engine.hooks.cpu_training import optimize_for_cpu


def optimized(model, **options):
    """A copy that trains faster."""
    model = copy.deepcopy(model)
    optimize_for_cpu(model, **options)
    return model


def average():
    return nn.AvgPool2d(3, stride=2, padding=1)


def gradients(module, x):
    """Outputs, and the gradients of the input and of all parameters."""
    image = x.clone().requires_grad_()
    y = module(image)
    y = y if isinstance(y, torch.Tensor) else torch.cat([part.flatten() for part in y])
    return [y, *torch.autograd.grad(y.sin().sum(), [image, *module.parameters()])]


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
def test_convolution_is_that_of_torch(calls, arguments, size, product):
    torch.manual_seed(0)
    plain = nn.Conv2d(**arguments).double()
    layer = optimized(plain)
    x = torch.rand(2, arguments['in_channels'], *size, dtype=torch.double)
    torch.testing.assert_close(gradients(layer, x), gradients(plain, x), rtol=1e-12, atol=1e-12)
    assert ('bmm' in calls(layer, x)) == product
    assert ('convolution' in calls(layer, x)) != product


def test_a_single_picture_passes_and_a_wrong_width_does_not():
    layer = optimized(nn.Sequential(nn.Conv2d(6, 12, 1), average()))
    assert layer(torch.rand(6, 6, 6)).shape == (12, 3, 3)
    with pytest.raises(RuntimeError, match='to have 6 channels, but got 4 channels'):
        layer(torch.rand(2, 4, 4, 4))


def test_an_empty_batch_passes():
    x = torch.rand(0, 6, 4, 4, requires_grad=True)
    y = optimized(nn.Sequential(nn.Conv2d(6, 12, 1, groups=3), average()))(x)
    y.sum().backward()
    assert (y.shape, x.grad.shape) == ((0, 12, 2, 2), x.shape)


@pytest.mark.parametrize('size', [(6, 6), (7, 5), (1, 1)])
def test_average_is_that_of_torch(calls, size):
    x = torch.rand(2, 5, *size, dtype=torch.double)
    torch.testing.assert_close(gradients(optimized(average()), x), gradients(average(), x), rtol=1e-12, atol=1e-12)
    assert 'convolution' in calls(optimized(average()), x)


@pytest.mark.parametrize(
    'settings',
    [dict(kernel_size=2), dict(stride=1), dict(padding=0), dict(ceil_mode=True), dict(count_include_pad=False),
     dict(divisor_override=5)],
    ids=str,
)  # fmt: skip
def test_other_averages_stay_torchs(calls, settings):
    layer = nn.AvgPool2d(**{**dict(kernel_size=3, stride=2, padding=1), **settings})
    assert 'avg_pool2d' in calls(optimized(layer), torch.rand(2, 6, 8, 8))


@pytest.mark.parametrize(
    'change',
    [
        lambda layer, x: (layer.eval(), x),
        lambda layer, x: (layer, x.contiguous(memory_format=torch.channels_last)),
        lambda layer, x: (layer.to('meta'), x.to('meta')),
    ],
    ids=['inference', 'channels_last', 'other device'],
)
@pytest.mark.parametrize(('layer', 'operator'), [(nn.Conv2d(6, 6, 1), 'convolution'), (average(), 'avg_pool2d')])
def test_all_but_a_training_on_a_cpu_is_left_to_torch(calls, layer, operator, change):
    layer, x = change(optimized(layer), torch.rand(2, 6, 4, 4))
    assert operator in calls(layer, x)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_average_of_a_mixed_precision_is_as_exact_as_torchs(dtype):
    x = torch.rand(2, 6, 8, 8).to(dtype)
    with torch.autocast('cpu', torch.bfloat16):
        torch.testing.assert_close(optimized(average())(x), average()(x), rtol=1e-6, atol=0)


def test_a_product_takes_part_in_mixed_precision():
    layer = nn.Conv2d(6, 12, 1)
    x = torch.rand(2, 6, 8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        found, expected = optimized(layer)(x), layer(x)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01)


@pytest.mark.export
def test_a_compiled_or_exported_training_has_convolutions():
    layer, x = optimized(nn.Sequential(nn.Conv2d(6, 6, 1), average())), torch.rand(2, 6, 4, 4)
    nodes = torch.export.export(layer, (x,)).graph.nodes
    exported = [str(node.target) for node in nodes if node.op == 'call_function']
    assert exported == ['aten.conv2d.default', 'aten.avg_pool2d.default']

    compiled = []

    def backend(module, inputs):
        compiled.extend(node.target for node in module.graph.nodes if node.op == 'call_function')
        return module

    torch.compile(layer, backend=backend, fullgraph=True)(x)
    assert compiled == [torch.conv2d, nn.functional.avg_pool2d]


MENET = dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=3, depths=(2, 2, 1))
RESNET = dict(
    type='ResNet', depth=50, base_channels=8, stem_channels=8, num_stages=2, strides=(1, 2), dilations=(1, 1),
    out_indices=(0, 1),
)  # fmt: skip


@pytest.mark.parametrize(
    ('build', 'products', 'others', 'averages'),
    [
        # In each of five units two 1x1 convolutions and two of the side path. Others: the stem, two 3x3 convolutions in
        # each unit, three averages.
        (lambda: MENet(MENET), 20, 14, 0),
        # The stem and stride 8 have products; behind, maps of 4x4 and 2x2 are too small for them.
        (lambda: MobileNetV1('0.25'), 5, 14 + 8, 0),
        # mmdet's: in each of seven blocks two 1x1 convolutions, and the first shortcut; the second has a stride.
        (lambda: MMDET_MODELS.build(RESNET), 15, 9, 0),
    ],
    ids=['MENet', 'MobileNetV1', "mmdet's ResNet"],
)
def test_networks_compute_the_same_with_other_operators(calls, build, products, others, averages):
    init_default_scope('mmdet')
    torch.manual_seed(0)
    plain = build().double()
    model = optimized(plain)
    x = torch.rand(2, 3, 64, 64, dtype=torch.double)
    torch.testing.assert_close(gradients(model, x), gradients(plain, x), rtol=1e-9, atol=1e-9)
    found = calls(model, x)
    assert (found['bmm'], found['convolution'], found['avg_pool2d']) == (products, others, averages)
    assert calls(optimized(plain, products=False, averages=False), x) == calls(plain, x)


def test_a_model_keeps_its_tensors_and_copies_and_may_be_changed_back(calls):
    plain = nn.Sequential(nn.Conv2d(6, 6, 1), average(), ConvWS2d(6, 6, 1))
    model = copy.deepcopy(plain)
    undo = optimize_for_cpu(model)
    assert type(model[2]) is ConvWS2d
    assert [*model.state_dict()] == [*plain.state_dict()]
    assert isinstance(model[0], nn.Conv2d)
    x = torch.rand(2, 6, 8, 8)
    twin = copy.deepcopy(model)
    nn.init.zeros_(twin[0].weight)
    assert calls(twin, x) == calls(model, x) != calls(plain, x)
    assert model[0].weight.abs().min() > 0
    undo()
    assert [type(module) for module in model] == [type(module) for module in plain]
    assert calls(model, x) == calls(plain, x)
