"""MENet, the merging-and-evolution network.

Paper: "Merging and Evolution: Improving Convolutional Neural Networks for Mobile Applications", IJCNN 2018,
https://arxiv.org/abs/1803.09127, section IV and table I. Authors' code: https://github.com/clavichord93/MENet.
Shape letters are defined in :mod:`menet_mm.models.me_module`.
"""

from typing import Any

from torch import nn

from menet_mm.registry import MODELS

from .backbone import StagedBackbone
from .me_module import ME_PATH, ConvNormAct, MEModule


def _variant(channels: int, stem_channels: int, side_channels: int, groups: int) -> dict:
    widths = dict(channels=(channels, 2 * channels, 4 * channels), stem_channels=stem_channels)
    return dict(widths, side_channels=side_channels, groups=groups, depths=(4, 8, 4))


@MODELS.register_module()
class MENet(StagedBackbone):
    """MENet backbone: ``MENet('228-12x1-g3', out_indices=(1, 2))`` turns (N, 3, H, W) into maps of strides 16 and 32.

    ``arch`` is a name in :attr:`ARCHS`, or a dict with the keys ``channels``, ``stem_channels``, ``side_channels`` (k),
    ``groups`` (g) and ``depths``. ``side_cfg`` is the side path of every unit, for ablations, see :class:`MEModule`. The
    other arguments are explained at :class:`~menet_mm.models.backbone.StagedBackbone`.
    """

    #: Table I of the paper and the authors' repository; 160-8x1 is known from pytorchcv. Name: C-kx1-g.
    ARCHS = {
        '108-8x1-g3': _variant(108, stem_channels=12, side_channels=8, groups=3),
        '128-8x1-g4': _variant(128, stem_channels=12, side_channels=8, groups=4),
        '160-8x1-g8': _variant(160, stem_channels=16, side_channels=8, groups=8),
        '228-12x1-g3': _variant(228, stem_channels=24, side_channels=12, groups=3),
        '256-12x1-g4': _variant(256, stem_channels=24, side_channels=12, groups=4),
        '348-12x1-g3': _variant(348, stem_channels=24, side_channels=12, groups=3),
        '352-12x1-g8': _variant(352, stem_channels=24, side_channels=12, groups=8),
        '456-24x1-g3': _variant(456, stem_channels=48, side_channels=24, groups=3),
    }

    def __init__(
        self, arch: str | dict = '228-12x1-g3', *args: Any, side_cfg: dict | None = ME_PATH, **kwargs: Any
    ) -> None:
        super().__init__(arch, *args, **kwargs)
        width, side_channels, groups = (self.arch.get(key) for key in ('stem_channels', 'side_channels', 'groups'))
        self.stem = nn.Sequential(
            ConvNormAct(self.in_channels, width, 3, stride=2, padding=1, **self.layer_cfg),
            nn.MaxPool2d(3, stride=2, padding=1),
        )

        def unit(*widths: int, stride: int = 1) -> MEModule:
            # The stem is too narrow to be split (ShuffleNet, section 3.2), so the first unit compresses densely.
            first = stride == 2 and not self.stages
            return MEModule(*widths, side_channels, groups, stride, not first, side_cfg, self.with_cp, **self.layer_cfg)

        self._make_stages(width, unit)
