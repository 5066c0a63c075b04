"""ShuffleNet v1, the network that MENet starts from.

Paper: "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
https://arxiv.org/abs/1707.01083, table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from menet_mm.registry import MODELS

from .me_module import ConfigDict
from .menet import MENet


@MODELS.register_module()
class ShuffleNetV1(MENet):
    """ShuffleNet v1 backbone, in the MENet authors' form: MENet with units that have no side path.

    In units of stride 2 the residual branch comes first in the concatenation, as in MENet and in pytorchcv; MMPretrain's
    ShuffleNetV1 has the reverse order, which is another function.

    Args:
        arch: a name in :attr:`ARCHS`, or a dict with the keys ``channels``, ``stem_channels``, ``groups``, ``depths``.

    The other arguments and the errors are those of :class:`~menet_mm.models.backbone.StagedBackbone`.
    """

    ARCHS = {
        '1x-g3': dict(channels=(240, 480, 960), stem_channels=24, groups=3, depths=(4, 8, 4)),
        '0.5x-g3': dict(channels=(120, 240, 480), stem_channels=12, groups=3, depths=(4, 8, 4)),
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
