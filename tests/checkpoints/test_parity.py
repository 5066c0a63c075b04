"""Our networks compute the functions of an independent implementation: pytorchcv's, whose weights are converted."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from menet_mm import MENet, MobileNetV1, ShuffleNetV1
from menet_mm.checkpoints import convert


def outputs_of_ours(model, x):
    features = model.backbone(x)
    return [*features, model.head((features[-1].mean((2, 3)),))]


def outputs_of_theirs(net, x):
    outs = []
    for name, part in net.features.named_children():
        x = part(x)
        if name.startswith('stage'):
            outs.append(x)
    return [*outs, net.output(x.flatten(1))]


@pytest.mark.parametrize(('dtype', 'tolerance'), [(torch.float64, 1e-10), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize(
    ('backbone', 'arch'), [(kind, arch) for kind in (MENet, ShuffleNetV1, MobileNetV1) for arch in kind.ARCHS]
)
def test_stages_logits_and_input_gradients(theirs, backbone, arch, dtype, tolerance):
    net = theirs(arch, backbone.__name__).to(dtype)
    state, layout, *recognised = convert(net.state_dict())
    assert (layout, *recognised) == ("pytorchcv's", backbone.__name__, arch)
    init_default_scope('mmpretrain')
    cfg = Config.fromfile('configs/menet108_in1k.py').model
    cfg.backbone = dict(type=f'menet_mm.{backbone.__name__}', arch=arch, out_indices=(0, 1, 2))
    cfg.head.in_channels = backbone.ARCHS[arch]['channels'][-1]
    model = MODELS.build(cfg).to(dtype).eval()
    model.load_state_dict(state)  # strict

    x = torch.randn(1, 3, 224, 224, dtype=dtype, requires_grad=True)
    for ours, expected in zip(outputs_of_ours(model, x), outputs_of_theirs(net, x)[-4:], strict=True):
        assert ours.shape == expected.shape
        difference = (ours - expected).abs().max() / expected.abs().max()
        assert difference <= tolerance
        weights = torch.randn_like(expected)
        (gradient,) = torch.autograd.grad((ours * weights).sum(), x, retain_graph=True)
        (wanted,) = torch.autograd.grad((expected * weights).sum(), x, retain_graph=True)
        assert (gradient - wanted).abs().max() / wanted.abs().max() <= tolerance
