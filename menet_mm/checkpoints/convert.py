"""Other people's MENet checkpoints as MMPretrain's: ``backbone.*`` and ``head.fc.*``.

Sources: the authors' repository, https://github.com/clavichord93/MENet, and pytorchcv, https://github.com/osmr/pytorchcv.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from menet_mm.errors import InputError
from menet_mm.models import MENet

# A unit's layers: their name here, then the names of its convolution and its norm layer there.
AUTHORS_UNIT = {
    'compress': ('compress', 'bn_compress'),
    'depthwise': ('depthwise', 'bn_depthwise'),
    'expand': ('expand', 'bn_expand'),
    'side.merge': ('s_merge', 's_bn_merge'),
    'side.conv': ('s_conv', 's_bn_conv'),
    'side.evolve': ('s_evolve', 's_bn_evolve'),
}
PYTORCHCV_UNIT = {
    'compress': ('compress_conv1', 'compress_bn1'),
    'depthwise': ('dw_conv2', 'dw_bn2'),
    'expand': ('expand_conv3', 'expand_bn3'),
    'side.merge': ('s_merge_conv', 's_merge_bn'),
    'side.conv': ('s_conv', 's_conv_bn'),
    'side.evolve': ('s_evolve_conv', 's_evolve_bn'),
}
# Whose checkpoint it is: patterns of the stem, of a unit (stage, unit, layer) and of the classifier, and a unit's layers.
LAYOUTS = {
    "the authors'": (r'features\.init\.', r'features\.stage_(\d+)_(\d+)\.(\w+)\.', r'classifier\.', AUTHORS_UNIT),
    "pytorchcv's": (
        r'features\.init_block\.',
        r'features\.stage(\d+)\.unit(\d+)\.(\w+)\.',
        r'output\.',
        PYTORCHCV_UNIT,
    ),
}
OURS = "menet_mm's"


def convert(checkpoint: dict) -> tuple[dict[str, Tensor], str, str]:
    """Rename a MENet classifier's tensors, whoever trained it.

    Args:
        checkpoint: content of the file: a state dict, or a dict with one under ``state_dict``; keys may start with
            ``module.`` (``DataParallel``).

    Returns:
        The state dict of an MMPretrain classifier of any number of classes; whose layout it was, such as "pytorchcv's";
        and the variant, a name in ``MENet.ARCHS``.

    Raises:
        InputError: naming the first keys and shapes that differ if it is not exactly one of the eight variants.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            'the file holds no state dict: a dict of tensors, or one under the key state_dict, was expected'
        )
    state = {str(key).removeprefix('module.'): tensor for key, tensor in state.items()}
    layout, renamed = _rename(state)
    arch = _recognise(renamed, layout)
    for key in list(renamed):
        # The authors' torch did not count batches yet.
        if key.endswith('running_mean'):
            renamed.setdefault(key.replace('running_mean', 'num_batches_tracked'), torch.tensor(0))
    return renamed, layout, arch


def _rename(state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor]]:
    if any(key.startswith('backbone.stem.') for key in state):
        return OURS, dict(state)
    for layout, (stem, unit, classifier, layers) in LAYOUTS.items():
        if not any(re.match(stem, key) for key in state):
            continue
        names = {}
        for ours, (conv, norm) in layers.items():
            names[conv], names[norm] = f'{ours}.conv', f'{ours}.bn'
        renamed = {}
        for key, tensor in state.items():
            if match := re.match(unit, key):
                stage, number, layer = match.groups()
                own = names.get(layer, f'{layer} (unknown)')
                renamed[f'backbone.stages.{int(stage) - 1}.{int(number) - 1}.{own}.{key[match.end() :]}'] = tensor
            else:
                renamed[re.sub(classifier, 'head.fc.', re.sub(stem, 'backbone.stem.0.', key))] = tensor
        return layout, renamed
    first = ', '.join(list(state)[:3])
    raise InputError(
        f"the file is not of a MENet classifier: its first keys are {first}; the authors', pytorchcv's and menet_mm's "
        'checkpoints are known'
    )


def _shapes(arch: str) -> dict[str, tuple[int, ...]]:
    with torch.device('meta'):
        backbone = MENet(arch)
    return {f'backbone.{key}': tuple(tensor.shape) for key, tensor in backbone.state_dict().items()}


def _recognise(state: dict[str, Tensor], layout: str) -> str:
    """Find the variant with exactly these shapes."""
    given = {key: tuple(tensor.shape) for key, tensor in state.items() if not key.endswith('num_batches_tracked')}
    classes = given.get('head.fc.bias', ('classes',))
    nearest, differing = '', None
    for arch, settings in MENet.ARCHS.items():
        wanted = {key: shape for key, shape in _shapes(arch).items() if not key.endswith('num_batches_tracked')}
        wanted['head.fc.weight'] = (*classes, settings['channels'][-1])
        wanted['head.fc.bias'] = classes
        found = [key for key in (*wanted, *given) if wanted.get(key) != given.get(key)]
        if differing is None or len(found) < len(differing):
            nearest = arch
            differing = {key: (given.get(key), wanted.get(key)) for key in found}
    if not differing:
        return nearest
    first = '; '.join(
        f'{key} is {have or "missing"}, expected {want or "no such tensor"}'
        for key, (have, want) in list(differing.items())[:3]
    )
    raise InputError(
        f'the file has {layout} names but is none of the eight MENets: from {nearest}, the nearest, {len(differing)} '
        f'tensors differ ({first})'
    )


def write_checkpoint(path: str | Path, state: dict[str, Tensor], meta: dict) -> None:
    """Write a checkpoint as ``.pth`` or ``.safetensors``; the file is there complete or not at all.

    Args:
        path: file to write; its ending decides the format. An existing file is replaced.
        state: tensors by name.
        meta: plain values about them; safetensors keeps them as JSON.

    Raises:
        InputError: if the ending is another one or the folder does not exist.
    """
    path = Path(path)
    check_target(path)
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


def check_target(path: Path) -> None:
    """Check that :func:`write_checkpoint` can write here, before any work is done.

    Raises:
        InputError: if it cannot.
    """
    if path.suffix not in ('.pth', '.safetensors'):
        raise InputError(f'{path} must end in .pth or .safetensors')
    if not path.parent.is_dir():
        raise InputError(f'there is no folder {path.parent} to write to: make it first')
