"""Classifiers of https://github.com/clavichord93/MENet and pytorchcv as MMPretrain's: ``backbone.*``, ``head.fc.*``."""

import json
import re
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from menet_mm.errors import InputError
from menet_mm.models import MENet, MobileNetV1, ShuffleNetV1
from menet_mm.utils.files import atomic_path

from .load import compare, get_state

#: Whose names a file has, by the beginning of one of its keys.
LAYOUTS = {'features.init.': "the authors'", 'features.init_block.': "pytorchcv's", 'backbone.stem.': "menet_mm's"}
# Our layers, and their convolutions and norm layers as the authors and as pytorchcv name them.
_LAYERS = (
    ('compress', 'compress', 'bn_compress', 'compress_conv1', 'compress_bn1'),
    ('depthwise', 'depthwise', 'bn_depthwise', 'dw_conv2', 'dw_bn2'),
    ('expand', 'expand', 'bn_expand', 'expand_conv3', 'expand_bn3'),
    ('side.merge', 's_merge', 's_bn_merge', 's_merge_conv', 's_merge_bn'),
    ('side.conv', 's_conv', 's_bn_conv', 's_conv_bn'),
    ('side.evolve', 's_evolve', 's_bn_evolve', 's_evolve_conv', 's_evolve_bn'),
)
_MOBILENET = {'dw_conv': 'depthwise_conv', 'pw_conv': 'pointwise_conv'}
_OURS = {name: f'{ours}.{"bn" if "bn" in name else "conv"}' for ours, *theirs in _LAYERS for name in theirs}
_OURS |= _MOBILENET


def convert(checkpoint: dict) -> tuple[dict[str, Tensor], str, str, str]:
    """Rename the tensors of a classifier with any number of classes, whoever trained it.

    ``checkpoint`` is a state dict, or a dict with one under ``state_dict``; keys may start with ``module.``. Returns the tensors
    under our names, whose names they had, the backbone (such as ``'MENet'``), and its arch. Raises InputError if it is not
    exactly one of the published variants, naming the first tensors that differ.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError('the file holds no state dict: expected a dict of tensors, or one under the key state_dict')
    state = get_state(checkpoint)
    layouts = [layout for prefix, layout in LAYOUTS.items() if any(key.startswith(prefix) for key in state)]
    if not layouts:
        raise InputError(
            f"the file is of no network that is known here: its first keys are {', '.join(list(state)[:3])}; the authors', "
            "pytorchcv's and menet_mm's classifiers were expected"
        )
    renamed = {_rename(key): tensor for key, tensor in state.items()}
    for key in [key for key in renamed if key.endswith('running_mean')]:
        # The authors' torch did not count batches yet.
        renamed.setdefault(key.replace('running_mean', 'num_batches_tracked'), torch.tensor(0))
    return renamed, layouts[0], *_recognise(renamed, layouts[0])


def _rename(key: str) -> str:
    if match := re.match(r'features\.stage_?(\d+)(?:_|\.unit)(\d+)\.(\w+)\.', key):
        stage, unit, layer = int(match[1]), int(match[2]) - 1, match[3]
        first = 3 if layer in _MOBILENET else 1  # the stages before belong to our stem
        place = f'stages.{stage - first}.{unit}' if stage >= first else f'stem.{stage + unit}'
        return f'backbone.{place}.{_OURS.get(layer, f"{layer} (unknown)")}.{key[match.end() :]}'
    return re.sub(r'^(classifier|output)\.', 'head.fc.', re.sub(r'^features\.init(_block)?\.', 'backbone.stem.0.', key))


@cache
def _classifier(backbone: type[MENet | MobileNetV1], arch: str, classes: int) -> nn.Module:
    with torch.device('meta'):
        head = nn.ModuleDict(dict(fc=nn.Linear(backbone.ARCHS[arch]['channels'][-1], classes)))
        return nn.ModuleDict(dict(backbone=backbone(arch), head=head))


def _recognise(state: dict[str, Tensor], layout: str) -> tuple[str, str]:
    """Find the backbone and arch that have exactly these tensors."""
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
    """Write tensors and plain values about them as ``.pth`` or ``.safetensors``, or raise InputError; replaces an older file."""
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
