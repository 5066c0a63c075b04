"""Other people's classifiers as MMPretrain's: ``backbone.*`` and ``head.fc.*``."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from menet_mm.errors import InputError
from menet_mm.models import MENet, MobileNetV1, ShuffleNetV1
from menet_mm.models.backbone import StagedBackbone
from menet_mm.utils.files import atomic_path

from .layouts import LAYOUTS, Layout
from .load import compare, get_state


class Converted(NamedTuple):
    """A classifier's tensors under our names, whose names they had, and which network it is, such as MENet 108-8x1-g3."""

    state: dict[str, Tensor]
    layout: str
    backbone: str
    arch: str


def convert(checkpoint: dict) -> Converted:
    """Rename the tensors of a classifier with any number of classes, whoever trained it.

    Args:
        checkpoint: a state dict, or a dict with one under ``state_dict``; keys may start with ``module.``.

    Raises:
        InputError: if it is not exactly one of the published variants, naming the first tensors that differ.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError('the file holds no state dict: expected a dict of tensors, or one under the key state_dict')
    layout, renamed = _rename(get_state(checkpoint))
    for key in list(renamed):
        # The authors' torch did not count batches yet.
        if key.endswith('running_mean'):
            renamed.setdefault(key.replace('running_mean', 'num_batches_tracked'), torch.tensor(0))
    return Converted(renamed, layout, *_recognise(renamed, layout))


def _rename(state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    if any(key.startswith('backbone.stem.') for key in state):
        return "menet_mm's", dict(state)
    for layout in LAYOUTS:
        if any(re.match(layout.unit, key) for key in state) and any(re.match(layout.stem, key) for key in state):
            return layout.owner, {_rename_key(key, layout): tensor for key, tensor in state.items()}
    raise InputError(
        f"the file is of no network that is known here: its first keys are {', '.join(list(state)[:3])}; the authors', "
        "pytorchcv's and menet_mm's classifiers were expected"
    )


def _rename_key(key: str, layout: Layout) -> str:
    if match := re.match(layout.unit, key):
        stage, unit = int(match[1]) - layout.first_stage, int(match[2]) - 1
        place = f'stages.{stage}.{unit}' if stage >= 0 else f'stem.{int(match[1]) + unit}'
        layer = layout.layers.get(match[3], f'{match[3]} (unknown)')
        return f'backbone.{place}.{layer}.{key[match.end() :]}'
    return re.sub(layout.classifier, 'head.fc.', re.sub(layout.stem, 'backbone.stem.0.', key))


@cache
def _classifier(backbone: type[StagedBackbone], arch: str, classes: int) -> nn.Module:
    with torch.device('meta'):
        head = nn.ModuleDict(dict(fc=nn.Linear(backbone.ARCHS[arch]['channels'][-1], classes)))
        return nn.ModuleDict(dict(backbone=backbone(arch), head=head))


def _recognise(state: dict[str, Tensor], layout: str) -> tuple[str, str]:
    """Find the variant that has exactly these tensors."""
    classes = len(state.get('head.fc.bias', [0]))
    found = {
        (backbone.__name__, arch): compare(_classifier(backbone, arch, classes), state)
        for backbone in (MENet, ShuffleNetV1, MobileNetV1)
        for arch in backbone.ARCHS
    }
    nearest = min(found, key=lambda name: sum(map(len, found[name])))
    if any(difference := found[nearest]):
        raise InputError(
            f'the file has {layout} names but is none of the published variants: '
            f'compared with {" ".join(nearest)}, the nearest, {difference}'
        )
    return nearest


def write_checkpoint(path: str | Path, state: dict[str, Tensor], meta: dict) -> None:
    """Write tensors and plain values about them as ``.pth`` or ``.safetensors``; an existing file is replaced.

    Raises InputError if the ending is another one.
    """
    check_ending(path := Path(path))
    state = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    with atomic_path(path) as partial:
        if path.suffix == '.safetensors':
            save_file(state, partial, {key: json.dumps(value) for key, value in meta.items()})
        else:
            torch.save(dict(meta=meta, state_dict=state), partial)


def check_ending(path: Path) -> None:
    """Check that :func:`write_checkpoint` knows the ending, before any work is done."""
    if path.suffix not in ('.pth', '.safetensors'):
        raise InputError(f'{path} must end in .pth or .safetensors')
