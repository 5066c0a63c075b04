"""What every backbone must do: one contract, and a short class for each that has it."""

import re

import pytest
import torch
from mmcv.cnn.bricks import ConvWS2d
from torch import nn

from menet_mm import InputError, MENet, MobileNetV1, ShuffleNetV1

SIZES = [(32, 32), (33, 47), (65, 97)]


def stage_of(name: str) -> str:
    """The part of a backbone that a parameter or buffer belongs to."""
    first, second = name.split('.')[:2]
    return f'stage {second}' if first == 'stages' else first


def gradients(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    return torch.autograd.grad(sum(y.sin().sum() for y in net(x)), list(net.parameters()))


class BackboneContract:
    """Subclasses name a backbone, the dict of a small network of three stages, and the fan of the authors' initialization."""

    backbone: type[nn.Module]
    small: dict
    fan: str

    @pytest.fixture(autouse=True)
    def _seed(self) -> None:
        torch.manual_seed(0)

    def build(self, **kwargs: object) -> nn.Module:
        return self.backbone(**{'arch': self.small, 'out_indices': (0, 1, 2), **kwargs})

    def test_strides_and_channels_of_every_variant(self):
        for arch, settings in self.backbone.ARCHS.items():
            net = self.build(arch=arch).eval()
            shapes = [tuple(y.shape) for y in net(torch.rand(1, 3, 65, 97))]
            assert shapes == [
                (1, c, *hw) for c, hw in zip(settings['channels'], [(9, 13), (5, 7), (3, 4)], strict=True)
            ]

    @pytest.mark.parametrize('size', SIZES, ids=str)
    def test_strides_of_small_and_odd_inputs(self, size):
        for i, y in enumerate(self.build()(torch.rand(2, 3, *size))):
            assert y.shape == (2, self.small['channels'][i], *(-(-side // 2 ** (i + 3)) for side in size))

    @pytest.mark.parametrize('out_indices', [(0,), (2,), (0, 2), [1, 2]])
    def test_out_indices_choose_the_maps(self, out_indices):
        whole, part = self.build().eval(), self.build(out_indices=out_indices).eval()
        part.load_state_dict(whole.state_dict())
        x = torch.rand(1, 3, 64, 64)
        expected = [whole(x)[i] for i in out_indices]
        assert all(torch.equal(*pair) for pair in zip(part(x), expected, strict=True))

    def test_the_last_stage_is_returned_by_default(self):
        (y,) = self.backbone()(torch.rand(2, 3, 32, 32))
        assert y.shape[2:] == (1, 1)

    def test_images_of_other_channels(self):
        assert len(self.build(in_channels=1)(torch.rand(2, 1, 64, 64))) == 3

    @pytest.mark.parametrize('frozen_stages', [-1, 0, 1, 2, 3])
    def test_frozen_stages_do_not_move_and_the_others_do(self, frozen_stages):
        net = self.build(frozen_stages=frozen_stages)
        net.init_weights()
        net.train()
        before = {name: value.clone() for name, value in net.state_dict().items()}
        trained = [p for p in net.parameters() if p.requires_grad]
        loss = sum(y.square().sum() for y in net(torch.rand(2, 3, 64, 64)))
        if trained:
            loss.backward()
            torch.optim.SGD(trained, lr=1.0).step()
        moved = {name for name, value in net.state_dict().items() if (value != before[name]).any()}
        parts = ['stem', 'stage 0', 'stage 1', 'stage 2']
        assert moved == {name for name in before if stage_of(name) in parts[frozen_stages + 1 :]}

    @pytest.mark.parametrize('kind', ['BN', 'SyncBN'])
    def test_norm_eval_keeps_statistics_but_trains_weights(self, kind):
        net = self.build(norm_eval=True, norm_cfg=dict(type=kind)).train()
        before = {name: value.clone() for name, value in net.named_buffers()}
        assert len(gradients(net, torch.rand(2, 3, 64, 64))) == len([*net.parameters()])
        assert before
        assert all(torch.equal(value, before[name]) for name, value in net.named_buffers())
        assert net.training

    def test_gradients_reach_every_parameter(self):
        net = self.build()
        net.init_weights()
        without = [name for (name, _), grad in zip(net.named_parameters(), gradients(net.train(), torch.rand(4, 3, 64, 64)), strict=True)
                   if not grad.any()]  # fmt: skip
        assert not without

    @pytest.mark.parametrize('training', [True, False])
    def test_checkpointing_saves_memory_and_keeps_gradients(self, training):
        plain, saving = (self.build(with_cp=with_cp).double().train(training) for with_cp in (False, True))
        saving.load_state_dict(plain.state_dict())
        x = torch.rand(2, 3, 64, 64, dtype=torch.double, requires_grad=True)
        kept = []
        for net in (plain, saving):
            tensors = []
            with torch.autograd.graph.saved_tensors_hooks(lambda t, to=tensors: to.append(t) or t, lambda t: t):
                net(x)
            kept.append(sum(t.numel() for t in tensors))
        assert kept[1] < 0.75 * kept[0]
        torch.testing.assert_close(gradients(saving, x), gradients(plain, x))

    def test_layer_configs_reach_every_layer(self):
        net = self.build(
            conv_cfg=dict(type='ConvWS'), norm_cfg=dict(type='GN', num_groups=1), act_cfg=dict(type='SiLU')
        )
        kinds = {type(module) for module in net.modules()}
        assert {ConvWS2d, nn.GroupNorm, nn.SiLU} < kinds
        assert not {nn.Conv2d, nn.BatchNorm2d, nn.ReLU} & kinds
        plain = {type(module) for module in self.build().modules()}
        assert {nn.Conv2d, nn.BatchNorm2d, nn.ReLU} < plain

    def test_authors_initialization(self):
        """Normal by the right fan, for all convolutions together; norm layers change nothing."""
        net = self.build(arch=next(iter(self.backbone.ARCHS)))
        net.init_weights()
        scaled = []
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                fans = dict(fan_in=module.weight[0].numel(), fan_out=module.weight[:, 0].numel())
                scaled.append(module.weight.detach().flatten() * (fans[self.fan] / 2) ** 0.5)
        values = torch.cat(scaled)
        assert values.std().item() == pytest.approx(1, rel=0.02)
        assert (values.abs() > 3).float().mean().item() == pytest.approx(0.0027, rel=0.3)  # a uniform one has none
        norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
        assert all((norm.weight == 1).all() and (norm.bias == 0).all() for norm in norms)

    def test_a_trace_follows_the_size_of_its_input(self):
        net = self.build().eval()
        traced = torch.jit.trace(net, torch.rand(1, 3, 64, 64))
        x = torch.rand(2, 3, 65, 97)
        torch.testing.assert_close(traced(x), net(x))

    @pytest.mark.export
    def test_an_exported_program_takes_any_batch(self):
        net = self.build().eval()
        batch = {0: torch.export.Dim('batch')}
        program = torch.export.export(net, (torch.rand(2, 3, 64, 64),), dynamic_shapes=(batch,))
        x = torch.rand(3, 3, 64, 64)
        torch.testing.assert_close(program.module()(x), net(x))

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [
            (dict(arch='2x'), "unknown arch '2x': choose one of {first}"),
            (dict(arch=[1]), 'unknown arch'),
            (dict(arch=dict(channels=(24,))), 'must have exactly the keys'),
            (dict(arch=dict(depths=(2,))), 'one width and one positive depth'),
            (dict(arch=dict(depths=(2, 0, 2))), 'one width and one positive depth'),
            (dict(arch=dict(depths=(), channels=())), 'one width and one positive depth'),
            (dict(out_indices=(3,)), 'stages in 0..2'),
            (dict(out_indices=()), 'stages in 0..2'),
            (dict(frozen_stages=4), '-1..3'),
            (dict(frozen_stages=-2), '-1..3'),
        ],
        ids=str,
    )
    def test_bad_arguments_are_explained(self, arguments, message):
        arch = arguments.get('arch')
        if isinstance(arch, dict) and 'depths' in arch:
            arguments = dict(arguments, arch=self.small | arch)
        with pytest.raises(InputError, match=re.escape(message.format(first=next(iter(self.backbone.ARCHS))))):
            self.build(**arguments)


class TestMENet(BackboneContract):
    backbone = MENet
    small = dict(channels=(24, 48, 96), stem_channels=12, side_channels=4, groups=3, depths=(2, 2, 1))
    fan = 'fan_out'

    @pytest.mark.parametrize(
        ('arguments', 'message'),
        [(dict(groups=5), 'divisible by 4 * groups'), (dict(stem_channels=24), 'must widen')],
    )
    def test_impossible_widths_are_explained(self, arguments, message):
        with pytest.raises(InputError, match=re.escape(message)):
            MENet(self.small | arguments)


class TestShuffleNetV1(BackboneContract):
    backbone = ShuffleNetV1
    small = dict(channels=(24, 48, 96), stem_channels=12, groups=3, depths=(2, 2, 1))
    fan = 'fan_out'

    def test_it_is_menet_without_the_side_path(self):
        menet, shufflenet = (
            MENet(self.small | dict(side_channels=8), side_cfg=None).eval(),
            ShuffleNetV1(self.small).eval(),
        )
        menet.load_state_dict(shufflenet.state_dict())  # strict
        x = torch.rand(1, 3, 64, 64)
        assert torch.equal(menet(x)[0], shufflenet(x)[0])

    def test_a_side_path_may_be_added_and_needs_its_width(self):
        menet, gated = (
            MENet(self.small | dict(side_channels=8)),
            ShuffleNetV1(self.small, side_cfg=dict(side_channels=8)),
        )
        assert gated.state_dict().keys() == menet.state_dict().keys()
        with pytest.raises(InputError, match='positive widths, but got channels=6, side_channels=None'):
            ShuffleNetV1(self.small, side_cfg=dict(conv=False))


class TestMobileNetV1(BackboneContract):
    backbone = MobileNetV1
    small = dict(channels=(32, 64, 128), stem_channels=4, depths=(2, 2, 1))
    fan = 'fan_in'

    def test_the_width_may_be_a_number(self):
        """As which --cfg-options reads it."""
        assert MobileNetV1(0.5).stages[2][1].pointwise_conv.conv.out_channels == 512
        with pytest.raises(InputError, match='unknown arch'):
            MobileNetV1(0.3)
