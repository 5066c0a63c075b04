"""The text of a project's files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from menet_mm.datasets.labels import Labels
from menet_mm.projects.recipe import Recipe

README = """# {title}

Written by menet_mm's `tools/new_project.py`; {origin}. Pictures and labels are where they were.

- `{name}.py`: the config. It says what is yours; all else is in menet_mm's configs.
- `train.txt`, `val.txt`, and `test.txt` if there is one: which pictures are used for what. Without the last, those of `val.txt` are tested.

Run in this folder, with the Python that has menet_mm:

```bash
TOOLS=$(python -c "import menet_mm; print(menet_mm.__path__[0] + '/.mim/tools')")
python $TOOLS/train.py {name}.py
python $TOOLS/test.py {name}.py {checkpoint} --out work_dirs/{name}/predictions.pkl
python $TOOLS/export.py {name}.py {checkpoint} --to onnx --out work_dirs/{name}/{name}.onnx
python $TOOLS/report.py {name}.py work_dirs/{name}/predictions.pkl                      # a page of what it gets right and wrong
python $TOOLS/infer.py PICTURES --model work_dirs/{name}/{name}.onnx --out drawn
```
"""

HEAD = """# Written by tools/new_project.py; change what you like.
_base_ = __import__('menet_mm') and 'menet_mm::menet/{base}.py'

# Pictures and labels stay where they are; the lists beside this file say which are used for what.
data_root = {root!r}
data_hint = 'set data_root in the config to where pictures and labels are now'
classes = {classes!r}
"""

SCHEDULE = """
# Fitted to the number of pictures.
train_cfg = dict(max_epochs={epochs}, val_interval={val_interval})
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end={warm_up}),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, convert_to_iter_based=True),
]
custom_hooks = [
    dict(type='menet_mm.CPUTrainingHook'),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum={average}, update_buffers=True),
]
"""


@dataclass
class Content:
    """What a project's config says.

    Attributes:
        labels, format: the set, and the form that it was read from.
        base: the config that is inherited.
        recipe: batch, epochs and what depends on them.
        weights: ImageNet weights, if there are some.
        one_test: validation and test have the same pictures.
        rename: other names for classes of the labels.
    """

    labels: Labels
    format: str
    base: str
    recipe: Recipe
    weights: Path | None
    one_test: bool
    rename: dict[str, str] | None = None


def _head(content: Content) -> str:
    labels = content.labels
    return HEAD.format(base=content.base, root=str(labels.root), classes=tuple(labels.classes))


def _schedule(recipe: Recipe) -> str:
    return SCHEDULE.format(**vars(recipe))


def _loaders(content: Content) -> str:
    lines = ''
    for split in ('train', 'val') if content.one_test else ('train', 'val', 'test'):
        settings = f'batch_size={content.recipe.batch}, ' if split == 'train' else ''
        settings += f'num_workers={content.recipe.workers}, '
        lines += (
            f"{split}_dataloader = dict({settings}dataset=dict(ann_file='{{{{ fileDirname }}}}/{split}.txt', **data))\n"
        )
    return lines + ('test_dataloader = val_dataloader\n' if content.one_test else '')


def _backbone(weights: Path | None) -> str:
    return f'init_cfg=dict(checkpoint={str(weights)!r})' if weights else 'init_cfg=None, frozen_stages=-1'


def detector_config(content: Content, anchors: list[str] | None = None) -> str:
    """The config of a detector; ``anchors`` are the lines of an anchor generator."""
    renamed = f', rename={content.rename!r}' if content.rename else ''
    data = f'data = dict(data_root=data_root, format={content.format!r}{renamed}, metainfo=dict(classes=classes))\n'
    fitted = [f'        {line}' for line in anchors or ()]
    model = ['', 'model = dict(', f'    backbone=dict({_backbone(content.weights)}),', '    bbox_head=dict(']
    model += [f'        num_classes={len(content.labels.classes)},', *fitted, '    ),', ')', '']
    return _head(content) + data + _loaders(content) + '\n'.join(model) + _schedule(content.recipe)


def classifier_config(content: Content) -> str:
    """The config of a classifier; top-5 is measured where there are more than five classes."""
    number, topk = len(content.labels.classes), (1, 5) if len(content.labels.classes) > 5 else (1,)
    data = "data = dict(data_root=data_root, data_prefix='', metainfo=dict(classes=classes))\n"
    model = [
        '',
        f'data_preprocessor = dict(num_classes={number})',
        f'model = dict(backbone=dict({_backbone(content.weights)}), head=dict(num_classes={number}, topk={topk}))',
        f'val_evaluator = dict(topk={topk})',
        'test_evaluator = val_evaluator',
        '',
    ]
    return _head(content) + data + _loaders(content) + '\n'.join(model) + _schedule(content.recipe)
