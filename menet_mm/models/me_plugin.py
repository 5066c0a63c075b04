"""The merging and evolution operations as an mmcv plugin layer, for backbones that take ``plugins=``."""

from torch import Tensor

from menet_mm.registry import MODELS

from .me_module import ConfiguredModule, MergingEvolution


@MODELS.register_module()
class MEPlugin(ConfiguredModule):
    """Gate a feature map with its own merged and evolved channels, as the ME module gates its bottleneck.

    For mmdet's ResNet of depth 50 and up: ``plugins=[dict(cfg=dict(type='menet_mm.MEPlugin'), position='after_conv2')]``.
    ``in_channels`` is C, which the backbone fills in; ``side_channels`` is k. Errors are those of :class:`MergingEvolution`.
    """

    _abbr_ = 'me_plugin'

    def __init__(self, in_channels: int, side_channels: int = 12, **configs: dict | None) -> None:
        super().__init__(**configs)
        self.side = MergingEvolution(in_channels, side_channels, **self.layer_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Gate ``x`` (N, C, H, W), whose shape stays."""
        return self.side.fuse(x, x)
