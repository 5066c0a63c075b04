"""What a report says of how a network was trained: settings, versions, device, time."""

import json
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import menet_mm
from menet_mm.utils.files import write_text

SHOWN = 20_000  # characters of the config on the page
READ = 1 << 16  # bytes of a log that are read, at its start and at its end
#: What is taken of the environment that mmengine logs.
ENVIRONMENT = ('Python', 'PyTorch', 'TorchVision', 'MMEngine', 'CUDA available', r'GPU [\d,]+', 'seed')


def describe_run(cfg: Config, work_dir: Path, predictions: list[dict], out: Path) -> dict[str, Any]:
    """What the page says of the training; its ``facts`` are written to ``out/facts.json``, too, where a comparison finds them."""
    facts = describe_training(cfg, work_dir, predictions)
    write_text(out / 'facts.json', json.dumps(facts, indent=1))
    return dict(facts=facts, config_text=read_config_text(cfg), data_checks=find_data_checks(work_dir))


def name_checkpoint(work_dir: Path) -> str:
    """The last checkpoint in a work dir, for people."""
    checkpoint = work_dir / 'last_checkpoint'
    return str(work_dir / checkpoint.read_text()) if checkpoint.is_file() else f'none in {work_dir}'


def describe_training(cfg: Config, work_dir: Path, predictions: list[dict]) -> dict[str, str]:
    """Name and value of what was set, counted and logged; what cannot be known is left out."""
    optimizer = cfg.get('optim_wrapper', {}).get('optimizer', {})
    loader, loop = cfg.get('train_dataloader') or {}, cfg.get('train_cfg') or {}
    backbone = cfg.model.get('backbone', {})
    checkpoint = work_dir / 'last_checkpoint'
    facts = {
        'config': cfg.filename,
        'last checkpoint': checkpoint.read_text()[:200] if checkpoint.is_file() else None,
        'model': cfg.model.get('type'),
        'backbone': ' '.join(str(backbone[key]) for key in ('type', 'arch', 'depth') if key in backbone),
        **count_model(cfg, predictions),
        'starts from': cfg.get('load_from') or _weights(backbone.get('init_cfg')),
        'pictures a step': loader.get('batch_size'),
        'epochs': loop.get('max_epochs'),
        'iterations': loop.get('max_iters'),
        'optimizer': ', '.join(f'{key} {value}' for key, value in optimizer.items()),
        'mixed precision': 'yes' if 'Amp' in str(cfg.get('optim_wrapper', {}).get('type')) else None,
        **read_environment(work_dir),
        'menet_mm (now)': menet_mm.__version__,
    }
    return {name: str(value)[:500] for name, value in facts.items() if value not in (None, '')}


def _weights(init_cfg: dict | list | None) -> str | None:
    """The checkpoint of a backbone, if it starts from one; ``init_cfg`` may be a list."""
    several = init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg or {}]
    return next((one['checkpoint'] for one in several if one.get('checkpoint')), None)


def count_model(cfg: Config, predictions: list[dict]) -> dict[str, str]:
    """Count parameters and, of a classifier or a detector of one stage, multiply-adds of convolutions and linear layers.

    The latter are at the size of the first picture as the network gets it.
    """
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    counts = {'parameters': f'{sum(p.numel() for p in model.parameters()):,}'}
    size = next((p['img_shape'] for p in predictions if p.get('img_shape')), None)
    # By name, so that the report of a classifier does without mmdet.
    kinds = {kind.__name__ for kind in type(model).__mro__}
    if size and kinds & {'ImageClassifier', 'SingleStageDetector'}:
        counter = FlopAnalyzer(model, torch.rand(1, 3, *size[:2]))
        operators = counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
        height, width = size[:2]
        total = (operators['conv'] + operators['linear']) / 1e6
        counts['multiply-adds'] = f'{total:,.0f} million at {width} x {height} px'
    return counts


def read_environment(work_dir: Path) -> dict[str, str]:
    """Read versions, device, seed and time from the logs of the trainings in a work dir, the newest last."""
    facts, times, starts = {}, [], 0
    for folder in training_folders(work_dir):
        starts += 1
        for path in sorted(folder.glob('*.log')):
            text = _ends(path)
            for key in ENVIRONMENT:
                if found := re.search(rf'^ +({key}): (.{{1,200}})$', text, re.MULTILINE):
                    facts[found[1]] = found[2]
            times += re.findall(r'^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) - mmengine', text, re.MULTILINE)
    if times:
        with suppress(ValueError):  # a foreign log may have other times than there are
            first, last = (datetime.strptime(time, '%Y/%m/%d %H:%M:%S') for time in (min(times), max(times)))
            facts['trained'] = f'{first} to {last} ({last - first})' + f', in {starts} starts' * (starts > 1)
    return facts


def training_folders(work_dir: Path) -> list[Path]:
    """Folders of the starts of a training in a work dir, without those of tests, the newest last."""
    return sorted(path.parents[1] for path in work_dir.glob('*/vis_data/scalars.json') if _is_training(path))


def _is_training(path: Path) -> bool:
    with path.open(encoding='utf-8', errors='replace') as file:
        return '"loss"' in file.read(READ)


def _ends(path: Path) -> str:
    """The beginning and the end of a log."""
    with path.open('rb') as file:
        text = file.read(READ)
        file.seek(max(file.tell(), path.stat().st_size - READ))
        return (text + b'\n' + file.read()).decode(errors='replace')


def read_config_text(cfg: Config) -> str:
    """The config's own file, which says how it differs from its base; the beginning of a long one."""
    path = Path(cfg.filename or '')
    text = path.read_text(encoding='utf-8', errors='replace') if path.is_file() else ''
    return text if len(text) <= SHOWN else f'{text[:SHOWN]}\n... and {len(text) - SHOWN} characters more'


def find_data_checks(work_dir: Path) -> list[str]:
    """Names of pages of ``tools/check_data.py`` in a work dir."""
    return [path.name for path in sorted(work_dir.glob('*.html')) if _is_check(path)]


def _is_check(path: Path) -> bool:
    with path.open('rb') as file:
        return b'<title>Check of ' in file.read(500)
