"""What MENet and its rivals have in common: a stem, stages, and the rules for using some of them."""

from collections.abc import Callable, Sequence
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from menet_mm.errors import InputError

from .me_module import ConfiguredModule


class StagedBackbone(ConfiguredModule):
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
        init_cfg: None is the MENet authors' initialization: Kaiming normal, norm layers 1 and 0.
            ``dict(type='Pretrained', checkpoint=..., prefix='backbone.')`` loads weights.
        layer_cfg: ``conv_cfg``, ``norm_cfg`` and ``act_cfg``, see :class:`~menet_mm.models.me_module.ConfiguredModule`.

    Raises InputError if ``arch`` is unknown or impossible, or a stage index is out of range.
    """

    ARCHS: dict[str, dict] = {}  #: published variants by name
    INIT_MODE = 'fan_out'  #: of the Kaiming initialization

    def __init__(
        self,
        arch: str | float | dict,
        in_channels: int = 3,
        out_indices: Sequence[int] = (2,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **layer_cfg: dict | None,
    ) -> None:
        kaiming = dict(type='Kaiming', layer='Conv2d', mode=self.INIT_MODE, nonlinearity='relu', distribution='normal')
        norms = dict(type='Constant', layer=['_BatchNorm', 'GroupNorm'], val=1, bias=0)
        super().__init__(init_cfg=init_cfg or [kaiming, norms], **layer_cfg)
        if not isinstance(arch, dict):
            # MobileNet's 0.5 is a number when it comes from --cfg-options.
            if str(arch) not in self.ARCHS:
                raise InputError(f"unknown arch '{arch}': choose one of {', '.join(self.ARCHS)}, or give a dict")
            arch = self.ARCHS[str(arch)]
        keys = next(iter(self.ARCHS.values())).keys()
        if arch.keys() != keys:
            raise InputError(f'an arch dict must have exactly the keys {", ".join(keys)}, but got {", ".join(arch)}')
        widths, depths = arch['channels'], arch['depths']
        numbers = [n for value in arch.values() for n in (value if isinstance(value, list | tuple) else [value])]
        fits = all(isinstance(part, list | tuple) and part for part in (widths, depths)) and len(widths) == len(depths)
        if not fits or not all(type(number) is int and number > 0 for number in numbers):
            sentence = 'an arch dict needs one width and one positive depth for each stage, and whole numbers above 0'
            raise InputError(f'{sentence}, but got {arch}')
        stages = len(depths)
        if not out_indices or any(i not in range(stages) for i in out_indices):
            raise InputError(f'out_indices must name stages in 0..{stages - 1}, but got {tuple(out_indices)}')
        if frozen_stages not in range(-1, stages + 1):
            raise InputError(f'frozen_stages must lie in -1..{stages}, but got {frozen_stages}')
        self.arch, self.in_channels, self.out_indices = arch, in_channels, tuple(out_indices)
        self.frozen_stages, self.norm_eval, self.with_cp = frozen_stages, norm_eval, with_cp

    def _make_stages(self, width: int, unit: Callable[..., nn.Module]) -> None:
        """Make ``self.stages`` behind a stem of ``width`` channels; the first ``unit`` of each halves the maps."""
        self.stages = nn.ModuleList()
        for channels, depth in zip(self.arch['channels'], self.arch['depths'], strict=True):
            others = [unit(channels, channels) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(unit(width, channels, stride=2), *others))
            width = channels
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Set the mode, and keep what is frozen in eval mode."""
        super().train(mode)
        for part in [self.stem, *self.stages][: self.frozen_stages + 1]:
            part.eval().requires_grad_(False)
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
