"""Write the model indexes from the configs: the checkout's and, with paths as seen from there, the installed package's.

mmengine's inferencers read the checkout's, `mmengine.hub` and `menet_mm.get_inferencer` the package's in `menet_mm/.mim`.
Run it after adding a config; a test compares.
"""

from pathlib import Path

import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

ROOT = Path(__file__).resolve().parent.parent
HEADER = '# Made by tools/make_model_index.py.\n'
#: Index and metafile from the root, and the folder of configs as the index sees it.
PLACES = {
    'model-index.yml': ('configs/metafile.yml', 'configs'),
    'menet_mm/.mim/model-index.yml': ('metafile.yml', 'configs/menet'),
}


def count_parameters(path: Path) -> int:
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return sum(p.numel() for p in MODELS.build(cfg.model).parameters())


def render() -> dict[str, str]:
    """Content of every file, by its path from the root."""
    parameters = {path.stem: count_parameters(path) for path in sorted((ROOT / 'configs').glob('*.py'))}
    paper = dict(
        Title='Merging and Evolution: Improving Convolutional Neural Networks for Mobile Applications',
        URL='https://arxiv.org/abs/1803.09127',
    )
    collections = [dict(Name='MENet', Metadata=dict(Architecture=['ME Module']), Paper=paper, README='README.md')]
    files = {}
    for index, (metafile, folder) in PLACES.items():
        models = [
            {
                'Name': name,
                'In Collection': 'MENet',
                'Config': f'{folder}/{name}.py',
                'Metadata': dict(Parameters=number),
                # The key must be there; no weights are published, since the authors state no licence for theirs.
                'Weights': None,
            }
            for name, number in parameters.items()
        ]
        content = dict(Collections=collections, Models=models)
        files[index] = HEADER + yaml.safe_dump(dict(Import=[metafile]))
        files[str(Path(index).parent / metafile)] = HEADER + yaml.safe_dump(content, sort_keys=False, width=120)
    return files


if __name__ == '__main__':
    for name, text in render().items():
        (ROOT / name).write_text(text)
        print(name)
