"""Run by test_wheel.py with an installed wheel, in a folder of its own: inherit every config and build what it names.

As other people's tools do, it imports nothing of menet_mm but through the config.
"""

import sys
import warnings
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS
from mmengine.runner import Runner

warnings.filterwarnings('ignore')


def lazy(dataset: dict) -> None:
    """Leave the data unread, in every set that is wrapped in another."""
    dataset['lazy_init'] = True
    for inner in (dataset.get('dataset'), *dataset.get('datasets', ())):
        if inner:
            lazy(inner)


for name in sys.argv[1:]:
    child = Path(f'inherited_{name}.py')
    child.write_text(f"_base_ = __import__('menet_mm') and 'menet_mm::menet/{name}.py'\nwork_dir = 'work'\n")
    cfg = Config.fromfile(child)
    cfg.experiment_name = name  # mmengine knows a visualizer by it
    runner = Runner.from_cfg(cfg)  # builds model and hooks
    hooks = [type(hook).__name__ for hook in runner.hooks]
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        lazy(dataset)
        built = DATASETS.build(dataset)
        while not hasattr(built, 'pipeline'):
            built = built.dataset if hasattr(built, 'dataset') else built.datasets[0]
        assert len(built.pipeline.transforms) >= 2, built
    if cfg.val_evaluator.type != 'CocoMetric':  # reads its file when it is built
        METRICS.build(cfg.val_evaluator)
    assert 'InputCheckHook' in hooks, hooks
    print('built', name, type(runner.model).__name__, sys.modules['menet_mm'].__file__)
