"""ShuffleNet v1, the network that MENet starts from.

Paper: "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
https://arxiv.org/abs/1707.01083, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from menet_mm.registry import MODELS

from .me_module import ConfigDict
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
        in_channels: channels of the image.
        out_indices: stages whose outputs are returned; 0, 1, 2 have strides 8, 16, 32.
        frozen_stages: -1 trains everything, 0 freezes the stem, and i the stem and the first i stages.
        norm_eval: keep every norm layer in eval mode.
        conv_cfg: mmcv's convolution layer config; None is :class:`~menet_mm.models.layers.MatmulConv2d`.
        norm_cfg: mmcv's norm layer config.
        act_cfg: mmcv's activation layer config.
        with_cp: recompute units in the backward pass, which trades time for memory.
        init_cfg: mmengine's initialization config; None is as of :class:`MENet`.

    Raises:
        InputError: if ``arch`` is unknown or impossible, or a stage index is out of range.
    """

    #: Width and groups.
    ARCHS = {
        '1x-g3': _variant(240, stem_channels=24, groups=3),
        '0.5x-g3': _variant(120, stem_channels=12, groups=3),
    }

    def __init__(
        self,
        arch: str | dict = '1x-g3',
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        conv_cfg: ConfigDict | None = None,
        norm_cfg: ConfigDict | None = None,
        act_cfg: ConfigDict | None = None,
        with_cp: bool = False,
        init_cfg: ConfigDict | list[ConfigDict] | None = None,
    ) -> None:
        super().__init__(
            arch,
            in_channels,
            out_indices,
            frozen_stages,
            norm_eval,
            side_cfg=None,
            conv_cfg=conv_cfg,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
