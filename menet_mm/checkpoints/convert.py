"""Other people's classifiers as MMPretrain's: ``backbone.*`` and ``head.fc.*``.

Sources: the MENet authors' repository, https://github.com/clavichord93/MENet, and pytorchcv,
https://github.com/osmr/pytorchcv.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from menet_mm.errors import InputError
from menet_mm.models import MENet, MobileNetV1, ShuffleNetV1

from .load import get_state


class Layout(NamedTuple):
    """How somebody names the tensors of a network."""

    #: Whose names these are.
    owner: str
    #: Patterns of the first convolution, of a layer of a unit (stage, unit, layer) and of the classifier.
    stem: str
    unit: str
    classifier: str
    #: Our place of a unit, by their numbers of stage and unit.
    place: Callable[[int, int], str]
    #: Our names of a unit's layers, by theirs.
    layers: dict[str, str]


def _stage_and_unit(stage: int, unit: int) -> str:
    return f'stages.{stage - 1}.{unit - 1}'


def _mobilenet_place(stage: int, unit: int) -> str:
    """Their first two stages belong to our stem of stride 4."""
    return f'stem.{stage + unit - 1}' if stage < 3 else f'stages.{stage - 3}.{unit - 1}'


LAYOUTS = (
    Layout(
        "the authors'",
        stem=r'features\.init\.',
        unit=r'features\.stage_(\d+)_(\d+)\.(\w+)\.',
        classifier=r'classifier\.',
        place=_stage_and_unit,
        layers={
            'compress': 'compress.conv',
            'bn_compress': 'compress.bn',
            'depthwise': 'depthwise.conv',
            'bn_depthwise': 'depthwise.bn',
            'expand': 'expand.conv',
            'bn_expand': 'expand.bn',
            's_merge': 'side.merge.conv',
            's_bn_merge': 'side.merge.bn',
            's_conv': 'side.conv.conv',
            's_bn_conv': 'side.conv.bn',
            's_evolve': 'side.evolve.conv',
            's_bn_evolve': 'side.evolve.bn',
        },
    ),
    # Their MENet and ShuffleNet.
    Layout(
        "pytorchcv's",
        stem=r'features\.init_block\.',
        unit=r'features\.stage(\d+)\.unit(\d+)\.((?!dw_conv\.|pw_conv\.)\w+)\.',
        classifier=r'output\.',
        place=_stage_and_unit,
        layers={
            'compress_conv1': 'compress.conv',
            'compress_bn1': 'compress.bn',
            'dw_conv2': 'depthwise.conv',
            'dw_bn2': 'depthwise.bn',
            'expand_conv3': 'expand.conv',
            'expand_bn3': 'expand.bn',
            's_merge_conv': 'side.merge.conv',
            's_merge_bn': 'side.merge.bn',
            's_conv': 'side.conv.conv',
            's_conv_bn': 'side.conv.bn',
            's_evolve_conv': 'side.evolve.conv',
            's_evolve_bn': 'side.evolve.bn',
        },
    ),
    # Their MobileNet.
    Layout(
        "pytorchcv's",
        stem=r'features\.init_block\.',
        unit=r'features\.stage(\d+)\.unit(\d+)\.(dw_conv|pw_conv)\.',
        classifier=r'output\.',
        place=_mobilenet_place,
        layers={'dw_conv': 'depthwise_conv', 'pw_conv': 'pointwise_conv'},
    ),
)
OURS = "menet_mm's"


class Converted(NamedTuple):
    """A classifier's tensors under our names, whose names they had, and which network it is."""

    state: dict[str, Tensor]
    layout: str
    #: ``MENet``, ``ShuffleNetV1`` or ``MobileNetV1``.
    backbone: str
    arch: str


def convert(checkpoint: dict) -> Converted:
    """Rename a classifier's tensors, whoever trained it.

    Args:
        checkpoint: content of the file: a state dict, or a dict with one under ``state_dict``; keys may start with
            ``module.`` (``DataParallel``).

    Returns:
        The state dict of an MMPretrain classifier of any number of classes; whose layout it was, such as "pytorchcv's";
        the backbone; and the variant, a name in the backbone's ``ARCHS``.

    Raises:
        InputError: naming the first keys and shapes that differ if it is not exactly one of the published variants.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            'the file holds no state dict: a dict of tensors, or one under the key state_dict, was expected'
        )
    layout, renamed = _rename(get_state(checkpoint))
    backbone, arch = _recognise(renamed, layout)
    for key in list(renamed):
        # The authors' torch did not count batches yet.
        if key.endswith('running_mean'):
            renamed.setdefault(key.replace('running_mean', 'num_batches_tracked'), torch.tensor(0))
    return Converted(renamed, layout, backbone, arch)


def _rename(state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    if any(key.startswith('backbone.stem.') for key in state):
        return OURS, dict(state)
    for layout in LAYOUTS:
        if any(re.match(layout.unit, key) for key in state) and any(re.match(layout.stem, key) for key in state):
            return layout.owner, {_own_name(key, layout): tensor for key, tensor in state.items()}
    first = ', '.join(list(state)[:3])
    raise InputError(
        f"the file is of no network that is known here: its first keys are {first}; the authors', pytorchcv's and "
        "menet_mm's classifiers were expected"
    )


def _own_name(key: str, layout: Layout) -> str:
    if match := re.match(layout.unit, key):
        stage, unit, layer = match.groups()
        own = layout.layers.get(layer, f'{layer} (unknown)')
        return f'backbone.{layout.place(int(stage), int(unit))}.{own}.{key[match.end() :]}'
    return re.sub(layout.classifier, 'head.fc.', re.sub(layout.stem, 'backbone.stem.0.', key))


def _shapes(backbone: type, arch: str) -> dict[str, tuple[int, ...]]:
    with torch.device('meta'):
        network = backbone(arch)
    return {f'backbone.{key}': tuple(tensor.shape) for key, tensor in network.state_dict().items()}


def _recognise(state: dict[str, Tensor], layout: str) -> tuple[str, str]:
    """Find the variant with exactly these shapes."""
    given = {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith('num_batches_tracked')}
    classes = given.get('head.fc.bias', ('classes',))
    nearest, differing = ('', ''), None
    for backbone in (MENet, ShuffleNetV1, MobileNetV1):
        for arch, settings in backbone.ARCHS.items():
            wanted = {k: v for k, v in _shapes(backbone, arch).items() if not k.endswith('num_batches_tracked')}
            wanted['head.fc.weight'] = (*classes, settings['channels'][-1])
            wanted['head.fc.bias'] = classes
            found = {k: (given.get(k), wanted.get(k)) for k in (*wanted, *given) if wanted.get(k) != given.get(k)}
            if differing is None or len(found) < len(differing):
                nearest, differing = (backbone.__name__, arch), found
    if not differing:
        return nearest
    first = '; '.join(
        f'{key} is {have or "missing"}, expected {want or "no such tensor"}'
        for key, (have, want) in list(differing.items())[:3]
    )
    raise InputError(
        f'the file has {layout} names but is none of the published variants: from {" ".join(nearest)}, the nearest, '
        f'{len(differing)} tensors differ ({first})'
    )


def write_checkpoint(path: str | Path, state: dict[str, Tensor], meta: dict) -> None:
    """Write a checkpoint as ``.pth`` or ``.safetensors``; the file is there complete or not at all.

    Args:
        path: file to write; its ending decides the format. An existing file is replaced.
        state: tensors by name.
        meta: plain values about them; safetensors keeps them as JSON.

    Raises:
        InputError: if the ending is another one.
    """
    path = Path(path)
    check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {key: tensor.detach().contiguous() for key, tensor in state.items()}
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(handle)
    try:
        if path.suffix == '.safetensors':
            save_file(state, partial, {key: json.dumps(value) for key, value in meta.items()})
        else:
            torch.save(dict(meta=meta, state_dict=state), partial)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(partial, 0o666 & ~umask)  # mkstemp's file is the user's alone
        os.replace(partial, path)
    finally:
        Path(partial).unlink(missing_ok=True)


def check_ending(path: Path) -> None:
    """Check that :func:`write_checkpoint` knows the ending, before any work is done.

    Raises:
        InputError: if it does not.
    """
    if path.suffix not in ('.pth', '.safetensors'):
        raise InputError(f'{path} must end in .pth or .safetensors')
