"""ShuffleNet v1, the network that MENet starts from.

Paper: "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
https://arxiv.org/abs/1707.01083, table 1.
"""

from __future__ import annotations

from menet_mm.registry import MODELS

from .menet import MENet


def _variant(channels: int, stem_channels: int, groups: int) -> dict:
    return dict(
        channels=(channels, 2 * channels, 4 * channels),
        stem_channels=stem_channels,
        groups=groups,
        depths=(4, 8, 4),
    )


@MODELS.register_module()
class ShuffleNetV1(MENet):
    """ShuffleNet v1 backbone, in the MENet authors' form: MENet with units that have no side path.

    In units of stride 2 the residual branch comes first in the concatenation, as in MENet and in pytorchcv; MMPretrain's
    ShuffleNetV1 has the reverse order, which is another function.

    Args:
        arch: a name in :attr:`ARCHS`, or a dict with the keys ``channels``, ``stem_channels``, ``groups``, ``depths``.
        kwargs: as of :class:`MENet`, but for ``side_cfg``.
    """

    #: Width and groups.
    ARCHS = {
        '1x-g3': _variant(240, stem_channels=24, groups=3),
        '0.5x-g3': _variant(120, stem_channels=12, groups=3),
    }

    def __init__(self, arch: str | dict = '1x-g3', **kwargs) -> None:
        super().__init__(arch, side_cfg=None, **kwargs)
