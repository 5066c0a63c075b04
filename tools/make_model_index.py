"""Write the model indexes and docs/configs.md from the configs.

There are two indexes, the checkout's and, with paths as seen from there, the installed package's.

mmengine's inferencers read the checkout's, `mmengine.hub` and `menet_mm.get_inferencer` the package's in `menet_mm/.mim`.
For developers: it needs a git checkout and lists the configs that git tracks. Run it after `git add` of a new config; a test
compares.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

ROOT = Path(__file__).resolve().parent.parent
HEADER = '# Made by tools/make_model_index.py.\n'
#: Index and metafile from the root, and the folder of configs as the index sees it.
PLACES = {
    'model-index.yml': ('configs/metafile.yml', 'configs'),
    'menet_mm/.mim/model-index.yml': ('metafile.yml', 'configs/menet'),
}


def collection(name: str, module: str, title: str, arxiv: str) -> dict:
    paper = dict(Title=title, URL=f'https://arxiv.org/abs/{arxiv}')
    return dict(Name=name, Metadata=dict(Architecture=[module]), Paper=paper, README='README.md')


MENET = collection(
    'MENet',
    'ME Module',
    'Merging and Evolution: Improving Convolutional Neural Networks for Mobile Applications',
    '1803.09127',
)
#: By the type of the backbone. Others, which are somebody else's with our plugin, belong to MENet.
RIVALS = {
    'menet_mm.ShuffleNetV1': collection(
        'ShuffleNet V1',
        'ShuffleNet Unit',
        'ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices',
        '1707.01083',
    ),
    'menet_mm.MobileNetV1': collection(
        'MobileNet V1',
        'Depthwise Separable Convolution',
        'MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications',
        '1704.04861',
    ),
}


#: The data of a config, by the end of its name.
DATA = {
    'voc': 'VOC 2007',
    'voc0712': 'VOC 2007 + 2012',
    'voc12': 'VOC 2012',
    'in1k': 'ILSVRC 2012',
    'tiny100': '100 classes of Tiny ImageNet',
    'shapes': 'generated',
    'format': 'yours, as COCO JSON',
    'finetune': 'yours',
}
PAGE = """# All configs

Made by `tools/make_model_index.py`. The commands take the names below, or the files in `configs/`:

```bash
python tools/train.py NAME
python tools/test.py NAME work_dirs/NAME/epoch_N.pth
```

Parameters and multiply-adds (of convolutions and linear layers) are those of the whole model, in millions. Faster R-CNN is
counted with 300 proposals at 1024 x 608 px.
"""


def describe(path: Path) -> dict:
    """What the index and the page say of a config's model."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
        multiply_adds = count_multiply_adds(cfg, model)
    return dict(
        collection=RIVALS.get(cfg.model.backbone.type, MENET)['Name'],
        task={'ImageClassifier': 'Classification', 'FasterRCNN': 'Detection: Faster R-CNN'}.get(
            type(model).__name__, 'Detection: SSD'
        ),
        data=DATA[path.stem.rpartition('_')[2]],
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds=multiply_adds,
        epochs=cfg.train_cfg.max_epochs,
        batch=cfg.train_dataloader.batch_size,
    )


def count_multiply_adds(cfg: Config, model: nn.Module) -> int:
    """Count those of convolutions and linear layers for one picture, which is what the paper counts."""
    import torch
    from mmengine.analysis import FlopAnalyzer

    from menet_mm.deploy.functions import make_function
    from menet_mm.deploy.pipeline import preprocess_steps

    if type(model).__name__ == 'FasterRCNN':
        function, size = two_stages(model), (608, 1024)
    else:
        size = preprocess_steps(cfg)[1]
        function = make_function(model, size)
    counter = FlopAnalyzer(function, torch.rand(1, 3, *size))
    operators = counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return operators['conv'] + operators['linear']


def two_stages(model: nn.Module) -> nn.Module:
    """A Faster R-CNN as a function of one tensor, with 300 proposals."""
    import torch

    class Function(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: torch.Tensor) -> tuple:
            maps = self.model.extract_feat(image)
            proposals = torch.tensor([[0.0, 0.0, 0.0, 200.0, 200.0]]).repeat(300, 1)
            found = self.model.roi_head._bbox_forward(maps, proposals)
            return self.model.rpn_head(maps), found['cls_score'], found['bbox_pred']

    return Function()


def render_page(described: dict[str, dict]) -> str:
    """The page of all configs."""
    lines = [PAGE]
    for task in dict.fromkeys(entry['task'] for entry in described.values()):
        lines += [f'## {task}', '', '| name | data | params, M | MMACs | epochs x batch |', '|---|---|---|---|---|']
        for name, entry in described.items():
            if entry['task'] == task:
                counts = f'{entry["parameters"] / 1e6:.2f} | {entry["multiply_adds"] / 1e6:,.0f}'
                lines.append(f'| `{name}` | {entry["data"]} | {counts} | {entry["epochs"]} x {entry["batch"]} |')
        lines.append('')
    return '\n'.join(lines)


def tracked_configs() -> list[Path]:
    """The configs that git tracks; others may be private.

    Raises:
        InputError: outside a git checkout, such as in an installed package.
    """
    git = ['git', '-C', str(ROOT), 'ls-files', '-z', ':(glob)configs/*.py']
    result = subprocess.run(git, capture_output=True, text=True)
    if not (ROOT / '.git').exists() or result.returncode:
        raise InputError(f'{ROOT} is not a git checkout: clone the repository and run the tool there')
    return sorted(ROOT / name for name in result.stdout.split('\0') if name)


def render() -> dict[str, str]:
    """Content of every file, by its path from the root."""
    described = {path.stem: describe(path) for path in tracked_configs()}
    files = {'docs/configs.md': render_page(described)}
    for index, (metafile, folder) in PLACES.items():
        models = [
            {
                'Name': name,
                'In Collection': entry['collection'],
                'Config': f'{folder}/{name}.py',
                # OpenMMLab's indexes call multiply-adds so.
                'Metadata': dict(FLOPs=entry['multiply_adds'], Parameters=entry['parameters']),
                # The key must be there; no weights are published, since the authors state no licence for theirs.
                'Weights': None,
            }
            for name, entry in described.items()
        ]
        content = dict(Collections=[MENET, *RIVALS.values()], Models=models)
        files[index] = HEADER + yaml.safe_dump(dict(Import=[metafile]))
        files[str(Path(index).parent / metafile)] = HEADER + yaml.safe_dump(content, sort_keys=False, width=120)
    return files


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name, text in render().items():
        write_text(ROOT / name, text)
        print(name)


if __name__ == '__main__':
    run(main)
