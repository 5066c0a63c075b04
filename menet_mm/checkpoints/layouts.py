"""How https://github.com/clavichord93/MENet and https://github.com/osmr/pytorchcv name the tensors of a classifier."""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """Patterns of the names, and our names of a unit's layers by theirs."""

    owner: str
    stem: str
    #: A layer of a unit; the groups are stage, unit and layer.
    unit: str
    classifier: str
    layers: dict[str, str]
    #: Their number of our first stage. Those before it belong to our stem.
    first_stage: int = 1


# Ours, then the convolution and the norm as the authors and as pytorchcv name them.
_LAYERS = (
    ('compress', 'compress', 'bn_compress', 'compress_conv1', 'compress_bn1'),
    ('depthwise', 'depthwise', 'bn_depthwise', 'dw_conv2', 'dw_bn2'),
    ('expand', 'expand', 'bn_expand', 'expand_conv3', 'expand_bn3'),
    ('side.merge', 's_merge', 's_bn_merge', 's_merge_conv', 's_merge_bn'),
    ('side.conv', 's_conv', 's_bn_conv', 's_conv', 's_conv_bn'),
    ('side.evolve', 's_evolve', 's_bn_evolve', 's_evolve_conv', 's_evolve_bn'),
)


def _layers(first: int) -> dict[str, str]:
    return {row[first + i]: f'{row[0]}.{part}' for row in _LAYERS for i, part in enumerate(('conv', 'bn'))}


# pytorchcv's
_STEM, _UNIT = r'features\.init_block\.', r'features\.stage(\d+)\.unit(\d+)\.'
_MOBILENET = {'dw_conv': 'depthwise_conv', 'pw_conv': 'pointwise_conv'}

LAYOUTS = (
    Layout("the authors'", r'features\.init\.', r'features\.stage_(\d+)_(\d+)\.(\w+)\.', r'classifier\.', _layers(1)),
    # MENet and ShuffleNet
    Layout("pytorchcv's", _STEM, rf'{_UNIT}((?!dw_conv\.|pw_conv\.)\w+)\.', r'output\.', _layers(3)),
    # MobileNet
    Layout("pytorchcv's", _STEM, rf'{_UNIT}(dw_conv|pw_conv)\.', r'output\.', _MOBILENET, first_stage=3),
)
