"""What MENet and its rivals have in common: a stem, stages, and the rules for using some of them."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from menet_mm.errors import InputError

from .me_module import ConfigDict

#: The authors' initialization of MENet and ShuffleNet.
AUTHORS_INIT = [
    dict(type='Kaiming', layer='Conv2d', mode='fan_out', nonlinearity='relu', distribution='normal'),
    dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1, bias=0),
]


class StagedBackbone(BaseModule):
    """A stem and stages of strides 8, 16, 32, of which some outputs are returned and some may be frozen.

    Subclasses have the table :attr:`ARCHS`, make ``self.stem`` and ``self.stages`` and call :meth:`_freeze`.

    Args:
        num_stages: how many stages there are.
        out_indices: stages whose outputs are returned; 0, 1, 2 have strides 8, 16, 32.
        frozen_stages: -1 trains everything, 0 freezes the stem, and i the stem and the first i stages: their parameters
            get no gradient and their norm layers stay in eval mode.
        norm_eval: keep every norm layer in eval mode, so that running statistics do not change.
        init_cfg: mmengine's initialization config.

    Raises:
        InputError: if a stage index is out of range.
    """

    #: Published variants by name; keys of a dict that describes a network of one's own.
    ARCHS: dict[str, dict] = {}

    stem: nn.Sequential
    stages: nn.ModuleList

    def __init__(
        self,
        num_stages: int,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: ConfigDict | list[ConfigDict],
    ) -> None:
        super().__init__(init_cfg)
        if not out_indices or any(i not in range(num_stages) for i in out_indices):
            raise InputError(f'out_indices must name stages in 0..{num_stages - 1}, but got {tuple(out_indices)}')
        if frozen_stages not in range(-1, num_stages + 1):
            raise InputError(f'frozen_stages must lie in -1..{num_stages}, but got {frozen_stages}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    @classmethod
    def _resolve(cls, arch: str | float | dict) -> dict:
        """Look a variant up, or check that a dict describes one: the keys of the table, a width and a depth a stage."""
        keys = next(iter(cls.ARCHS.values())).keys()
        if not isinstance(arch, dict):
            arch = str(arch)  # MobileNet's 0.5 is a number when it comes from --cfg-options
            if arch not in cls.ARCHS:
                raise InputError(f"unknown arch '{arch}': choose one of {', '.join(cls.ARCHS)}, or give a dict")
            return cls.ARCHS[arch]
        if set(arch) != set(keys):
            raise InputError(f'an arch dict must have exactly the keys {", ".join(keys)}, but got {", ".join(arch)}')
        if not arch['depths'] or len(arch['channels']) != len(arch['depths']) or min(arch['depths']) < 1:
            raise InputError(
                'an arch dict needs one width and one positive depth for each stage, '
                f'but got channels={arch["channels"]} and depths={arch["depths"]}'
            )
        return arch

    def _freeze(self) -> None:
        frozen = [] if self.frozen_stages < 0 else [self.stem, *self.stages[: self.frozen_stages]]
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> StagedBackbone:
        """Set the mode, and keep what is frozen in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Extract features.

        Args:
            x: images (N, in_channels, H, W) with H, W of at least 32 pixels.

        Returns:
            One map for each entry of ``out_indices``: (N, channels[i], ceil(H / 2^(i + 3)), ceil(W / 2^(i + 3))).
        """
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
