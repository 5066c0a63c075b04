"""ShuffleNet v1, the network that MENet starts from.

Paper: "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices", CVPR 2018,
https://arxiv.org/abs/1707.01083, table 1.
"""

from typing import Any

from menet_mm.registry import MODELS

from .menet import MENet


@MODELS.register_module()
class ShuffleNetV1(MENet):
    """ShuffleNet v1 backbone, in the MENet authors' form: MENet with units that have no side path.

    In units of stride 2 the residual branch comes first in the concatenation, as in MENet and in pytorchcv; MMPretrain's
    ShuffleNetV1 has the reverse order, which is another function. Arguments are those of MENet. A custom ``arch`` has no
    ``side_channels``, so that a ``side_cfg`` must name them.
    """

    ARCHS = {
        '1x-g3': dict(channels=(240, 480, 960), stem_channels=24, groups=3, depths=(4, 8, 4)),
        '0.5x-g3': dict(channels=(120, 240, 480), stem_channels=12, groups=3, depths=(4, 8, 4)),
    }

    def __init__(self, arch: str | dict = '1x-g3', *args: Any, side_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(arch, *args, side_cfg=side_cfg, **kwargs)
