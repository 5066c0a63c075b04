"""What MENet and its rivals have in common: a stem, stages, and the rules for using some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from menet_mm.errors import InputError

from .me_module import ConfigDict


def authors_init(mode: str) -> list[ConfigDict]:
    """The MENet authors' initialization: Kaiming normal by ``'fan_in'`` or ``'fan_out'``, norm layers 1 and 0."""
    return [
        dict(type='Kaiming', layer='Conv2d', mode=mode, nonlinearity='relu', distribution='normal'),
        dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1, bias=0),
    ]


class StagedBackbone(BaseModule):
    """A stem of stride 4 and stages of strides 8, 16, 32; subclasses make ``self.stem`` and call :meth:`_make_stages`.

    Args:
        arch: a name in :attr:`ARCHS`, or a dict for a custom network with the keys of that table: ``channels`` and
            ``depths`` (C_out and units of each stage), ``stem_channels`` and what the units need, such as ``groups``.
        in_channels: channels of the image.
        out_indices: stages whose outputs are returned; 0, 1, 2 have strides 8, 16, 32.
        frozen_stages: -1 trains everything, 0 freezes the stem, and i the stem and the first i stages. Frozen parameters get
            no gradient, and frozen norm layers stay in eval mode.
        norm_eval: keep every norm layer in eval mode, so that running statistics do not change.
        with_cp: recompute units in the backward pass, which trades time for memory.
        init_cfg: None is :func:`authors_init`; ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` loads weights.
        conv_cfg, norm_cfg, act_cfg: see :mod:`menet_mm.models.me_module`.

    Raises:
        InputError: if ``arch`` is unknown or impossible, or a stage index is out of range.
    """

    #: Published variants by name.
    ARCHS: dict[str, dict] = {}

    stem: nn.Sequential
    stages: nn.ModuleList

    def __init__(
        self,
        arch: str | float | dict,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: ConfigDict | list[ConfigDict],
    ) -> None:
        super().__init__(init_cfg)
        self.arch = self._resolve(arch)
        num_stages = len(self.arch['depths'])
        if not out_indices or any(i not in range(num_stages) for i in out_indices):
            raise InputError(f'out_indices must name stages in 0..{num_stages - 1}, but got {tuple(out_indices)}')
        if frozen_stages not in range(-1, num_stages + 1):
            raise InputError(f'frozen_stages must lie in -1..{num_stages}, but got {frozen_stages}')
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    @classmethod
    def _resolve(cls, arch: str | float | dict) -> dict:
        """Look a variant up, or check the dict of a custom network."""
        keys = next(iter(cls.ARCHS.values())).keys()
        if not isinstance(arch, dict):
            arch = str(arch)  # MobileNet's 0.5 is a number when it comes from --cfg-options
            if arch not in cls.ARCHS:
                raise InputError(f"unknown arch '{arch}': choose one of {', '.join(cls.ARCHS)}, or give a dict")
            return cls.ARCHS[arch]
        if set(arch) != set(keys):
            raise InputError(f'an arch dict must have exactly the keys {", ".join(keys)}, but got {", ".join(arch)}')
        lists = [arch['channels'], arch['depths']]
        fits = all(isinstance(part, list | tuple) and part for part in lists) and len(lists[0]) == len(lists[1])
        numbers = [
            number for value in arch.values() for number in (value if isinstance(value, list | tuple) else [value])
        ]
        if not fits or not all(type(number) is int and number > 0 for number in numbers):
            raise InputError(
                'an arch dict needs one width and one positive depth for each stage, and whole numbers above 0 '
                f'otherwise, but got {arch}'
            )
        return arch

    def _make_stages(self, width: int, unit: Callable[..., nn.Module]) -> None:
        """Make ``self.stages`` behind a stem of ``width`` channels; the first ``unit`` of each halves the maps."""
        self.stages = nn.ModuleList()
        for channels, depth in zip(self.arch['channels'], self.arch['depths'], strict=True):
            others = [unit(channels, channels) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(unit(width, channels, stride=2), *others))
            width = channels
        self._freeze()

    def _freeze(self) -> None:
        for module in [self.stem, *self.stages][: self.frozen_stages + 1]:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> StagedBackbone:
        """Set the mode, and keep what is frozen in eval mode."""
        super().train(mode)
        self._freeze()
        for module in self.modules():
            if self.norm_eval and isinstance(module, _BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(N, in_channels, H, W) -> (N, channels[i], ceil(H / 2^(i + 3)), ceil(W / 2^(i + 3))) for i of ``out_indices``."""
        x = self.stem(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i in self.out_indices:
                outs.append(x)
        return tuple(outs)
