"""From the config of ``tools/train.py`` and ``tools/test.py`` to a Runner: checks, changes for a test, processes, errors."""

import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import is_model_wrapper
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch.nn import BatchNorm2d, Module

from menet_mm.checkpoints import read_checkpoint, use_tensors_only
from menet_mm.datasets.doctor.identity import check_identity
from menet_mm.datasets.doctor.start import check_annotations, leaf_configs
from menet_mm.engine.adapt import adapt_data
from menet_mm.engine.essentials import add_essentials
from menet_mm.engine.terminal import QuietRunner
from menet_mm.errors import InputError

#: By the type of a metric that reports several values: the one that decides which checkpoint is best.
BEST = dict(VOCMetric='mAP', CocoMetric='bbox_mAP', Accuracy='top1')


def check_checkpoint(path: str, trust: bool) -> None:
    """Check a file or address as :func:`menet_mm.checkpoints.read_checkpoint` does, and make all loading as careful."""
    use_tensors_only(trust)
    if '://' not in path or path.startswith('http'):
        read_checkpoint(path, trust)


def check_data(cfg: Config, *splits: str) -> None:
    """Mend what :func:`menet_mm.engine.adapt.adapt_data` mends, and check names of classes and annotation files.

    ``splits`` are those of train, val, test whose files are read. ``InputError`` says what is wrong.
    """
    adapt_data(cfg)
    for split in splits:
        if cfg.get(f'{split}_dataloader'):
            check_annotations(cfg[f'{split}_dataloader'].dataset, cfg.get('data_hint'))
    check_identity(cfg)


def draw_results(cfg: Config, show: bool, folder: str | None, wait_time: float, interval: int) -> None:
    """Switch on the library's visualization hook; the two libraries name its options differently."""
    hook = cfg.default_hooks.visualization
    on, out = ('draw', 'test_out_dir') if cfg.default_scope == 'mmdet' else ('enable', 'out_dir')
    hook.update({'show': show, 'wait_time': wait_time, 'interval': interval, on: True, out: folder})


def use_tta(cfg: Config) -> None:
    """Wrap model and pipeline for test-time augmentation: what ``tta_model`` and ``tta_pipeline`` say, else flips.

    The defaults are those of the libraries' test scripts, but ground truth is loaded behind the flip: MMDetection's script
    loads it before, and so scores against mirrored boxes.
    """
    pipeline = cfg.test_dataloader.dataset.pipeline
    if cfg.default_scope == 'mmdet':
        nms = dict(type='nms', iou_threshold=0.5)
        model = dict(_scope_='mmdet', type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100))
        keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        pack = dict(type='PackDetInputs', meta_keys=keys)
    else:
        model = dict(_scope_='mmpretrain', type='AverageClsScoreTTA')
        pack = pipeline[-1]
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    load = [step for step in pipeline if step.type == 'LoadAnnotations']
    images = [step for step in pipeline[:-1] if step.type != 'LoadAnnotations']
    flip_pipeline = [*images, dict(type='TestTimeAug', transforms=[flips, *([step] for step in load), [pack]])]
    cfg.model = ConfigDict(**cfg.get('tta_model', model), module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.get('tta_pipeline', flip_pipeline)


def use_tiles(cfg: Config, side: int, overlap: float) -> None:
    """Wrap a detector, or set an exported one, so that it looks at tiles of ``side`` pixels, too, which share ``overlap``."""
    if cfg.model.type == 'menet_mm.ExportedModel':
        cfg.model.update(tile=side, overlap=overlap)
    else:
        pipeline = next(leaf_configs(cfg.test_dataloader.dataset)).pipeline
        tiles = dict(pipeline=pipeline, side=side, overlap=overlap)
        cfg.model = ConfigDict(type='menet_mm.TiledModel', module=cfg.model, **tiles)


def build_runner(cfg: Config, quiet: bool = False) -> Runner:
    """Build the runner, and start the processes of a distributed run; without a GPU, InputError unless by torchrun.

    With ``quiet`` the terminal shows what :class:`menet_mm.engine.terminal.Screen` lets through.
    """
    _start_processes(cfg)
    best = _name_best(cfg)
    add_essentials(cfg)
    runner = (QuietRunner if quiet else Runner).from_cfg(cfg)
    if best:
        runner.logger.info(best)
    runner.logger.addFilter(lambda record: 'will be deprecated in future' not in record.getMessage())
    return runner


def check_batches(runner: Runner) -> None:
    """Raise ``InputError`` if the training set does not fill a batch; building a schedule for none would fail obscurely."""
    loader = runner.train_loop.dataloader
    size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', None)
    if len(loader) == 0:
        raise InputError(
            f'the training set has {len(loader.dataset)} pictures but a batch takes {size}: '
            'set train_dataloader.batch_size to no more than that'
        )
    if loader.batch_size is None:
        return  # a batch sampler of its own says which pictures come together
    last = len(loader.dataset) % size if not loader.drop_last else 0
    single = 1 in (size, last) and any(type(module) is BatchNorm2d for module in _norms_of_one_value(runner))
    if single and runner.world_size == 1:
        remedy = 'train_dataloader.drop_last=True' if size > 1 else 'train_dataloader.batch_size to 2 or more'
        raise InputError(f"a batch of one picture cannot train the batch norm of the SSD's 1x1 map: set {remedy}")


def _norms_of_one_value(runner: Runner) -> Iterator[Module]:
    """Layers of an SSD, whose last map has one cell, that normalize one value for each picture."""
    neck = getattr(runner.model, 'neck', None)
    if type(neck).__name__ == 'SSDNeck':
        yield from neck.modules()


def compile_parts(runner: Runner) -> None:
    """Let ``torch.compile`` translate backbone and neck when they first run; checkpoints stay as they are.

    Raises:
        InputError: if torch cannot, or has no compiler of its own to use.
    """
    if not hasattr(torch.nn.Module, 'compile'):
        raise InputError(f'--compile needs torch 2.2 or newer, and this is {torch.__version__}: leave it out')
    if not torch.cuda.is_available() and not shutil.which(os.environ.get('CXX', 'g++')):
        raise InputError('--compile needs a C++ compiler without a GPU: install g++, or leave it out')
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parts = [name for name in ('backbone', 'neck') if isinstance(getattr(model, name, None), torch.nn.Module)]
    for name in parts:
        getattr(model, name).compile()
    runner.logger.info(f'Compiling {" and ".join(parts)}: the first iterations take minutes')


@contextmanager
def explain_build_errors() -> Iterator[None]:
    """Turn what a class says of its arguments, while mmengine builds it, into an ``InputError`` that names its type."""
    try:
        yield
    except InputError:
        raise
    except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        built = [frame.f_locals for frame in frames if frame.f_code.co_name == 'build_from_cfg']
        if (
            isinstance(error, ImportError) and not built
        ):  # such as TensorBoard, which is asked for when it is first used
            reason = str(error).split('\n')[0]
            raise InputError(
                f'the config asks for what is not installed: {reason}; or take it out of the config'
            ) from error
        if not built:
            raise
        kind = built[-1].get('obj_type') or built[-1]['cfg']['type']
        reason = str(error.args[0]).partition('. Please check')[0].strip() if error.args else type(error).__name__
        raise InputError(f"type='{kind}' cannot be built: {reason}; {_remedy(error, reason)}") from error


def _remedy(error: Exception, reason: str) -> str:
    if isinstance(error, ImportError):
        return 'install what it needs, or take it out of the config'
    if "unexpected keyword argument 'classes'" in reason:
        return 'write metainfo=dict(classes=(...)) instead'
    if 'unexpected keyword argument' in reason:
        return 'correct its settings in the config, or write _delete_=True if it replaces another type, whose settings it inherits'
    return 'correct its settings in the config'


def _name_best(cfg: Config) -> str | None:
    """Set ``save_best`` if it is 'auto' or a name that is not reported; returns what to say of it.

    For 'auto' mmengine takes the first value, which may be of one class. A name that is not reported fails after an epoch.
    """
    hook, metrics = cfg.get('default_hooks', {}).get('checkpoint') or {}, cfg.get('val_evaluator') or []
    chosen, known = hook.get('save_best'), []
    if not isinstance(chosen, str):
        return None
    for metric in [metrics] if isinstance(metrics, dict) else metrics:
        kind = str(metric.get('type', '')).rpartition('.')[2]
        if kind in BEST:
            with METRICS.switch_scope_and_registry(metric.get('_scope_') or cfg.get('default_scope')) as registry:
                known.append((kind, metric.get('prefix') or registry.get(metric['type']).default_prefix))
        elif not known or chosen != 'auto':  # the first value, or the chosen one, may be this metric's
            return None
    if not known or any(chosen.startswith(f'{prefix}/') for _, prefix in known):
        return None
    kind, prefix = known[0]
    hook.save_best = f'{prefix}/{BEST[kind]}'
    return f'The best checkpoint is that of the highest {hook.save_best}: {kind} reports no {chosen}'


def _start_processes(cfg: Config) -> None:
    """Start the process group of a distributed run without a GPU; mmengine skips a group that is there already.

    Its own launchers call ``torch.cuda.set_device`` and hand DDP a device id.
    """
    if cfg.launcher == 'none' or torch.cuda.is_available():
        return
    if cfg.launcher != 'pytorch':
        raise InputError(f'--launcher {cfg.launcher} needs a GPU; without one use tools/dist_train.sh or dist_test.sh')
    torch.distributed.init_process_group(backend='gloo')
    defaults = dict(type='MMDistributedDataParallel', device_ids=None, broadcast_buffers=False)
    if 'find_unused_parameters' in cfg:  # mmengine reads it only if there is no model_wrapper_cfg
        defaults['find_unused_parameters'] = cfg.find_unused_parameters
    cfg.model_wrapper_cfg = {**defaults, **(cfg.get('model_wrapper_cfg') or {})}
