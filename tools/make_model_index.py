"""Write the model indexes from the configs: the checkout's and, with paths as seen from there, the installed package's.

mmengine's inferencers read the checkout's, `mmengine.hub` and `menet_mm.get_inferencer` the package's in `menet_mm/.mim`.
For developers: it needs a git checkout and lists the configs that git tracks. Run it after `git add` of a new config; a test
compares.
"""

import argparse
import subprocess
from pathlib import Path

import yaml

from menet_mm.errors import InputError
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text

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


def describe(path: Path) -> tuple[str, int]:
    """Name of a config's collection, and number of the model's parameters."""
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope

    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        parameters = sum(p.numel() for p in MODELS.build(cfg.model).parameters())
    return RIVALS.get(cfg.model.backbone.type, MENET)['Name'], parameters


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
    files = {}
    for index, (metafile, folder) in PLACES.items():
        models = [
            {
                'Name': name,
                'In Collection': of,
                'Config': f'{folder}/{name}.py',
                'Metadata': dict(Parameters=parameters),
                # The key must be there; no weights are published, since the authors state no licence for theirs.
                'Weights': None,
            }
            for name, (of, parameters) in described.items()
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
