"""Inferencers of MMDetection and MMPretrain by our model names."""

import io
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import mmengine
import numpy as np
import torch
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, init_default_scope

from menet_mm.checkpoints import check_fit, read_checkpoint, tensors_only
from menet_mm.errors import InputError
from menet_mm.utils.config import find_config, read_config

if TYPE_CHECKING:
    from mmdet.apis import DetInferencer
    from mmpretrain import ImageClassificationInferencer

MIM = Path(__file__).parents[1] / '.mim'


def list_models() -> dict[str, dict]:
    """Read the package's model index: by name ``Config``, a path, ``Weights``, an address or None, and ``Metadata``."""
    index = mmengine.load(MIM / 'model-index.yml')
    models = [model for part in index['Import'] for model in mmengine.load(MIM / part)['Models']]
    return {model['Name']: dict(model, Config=str(MIM / model['Config'])) for model in models}


def find_model(name: str) -> tuple[str, str | None]:
    """Find a config as ``find_config`` does, and the address of its published weights or None."""
    path = find_config(name)
    return str(path), list_models().get(path.stem, {}).get('Weights')


def get_inferencer(
    name: str, weights: str | None = None, device: str | None = None, trust_checkpoint: bool = False
) -> 'DetInferencer | ImageClassificationInferencer':
    """Build the inferencer of the library that a model belongs to; several, of both, may live in one process.

    ``name`` is a model's, such as ``ssd_menet228_voc``, or a config file; ``weights`` a checkpoint, a file or an address, by
    default that of the model index; ``device`` a torch device, by default a GPU if there is one. ``trust_checkpoint`` unpickles
    any object in ``weights``, which may run code, instead of tensors and plain values alone. Raises ``InputError`` if the model
    is unknown, a key of its config misspelt, the device not there, or the weights missing, unsafe, damaged or of another network.
    """
    path, published = find_model(str(name))
    weights, device = weights or published, device or get_device()
    if weights is None:
        raise InputError(f'no weights of {name} are published: give a checkpoint that you trained or converted')
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):  # the latter if torch was built without CUDA
        raise InputError(f"no device '{device}' here: give cpu, or a device that torch has, such as cuda:0") from None
    cfg = read_config(path)
    init_default_scope(cfg.get('default_scope'))  # the libraries leave theirs behind
    checkpoint = read_checkpoint(weights, trust_checkpoint)
    check_fit(MODELS.build(cfg.model), checkpoint)  # the inferencers load whatever fits and go on
    with tensors_only(trust_checkpoint), warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='palette does not exist|dataset_meta or class names are not saved')
        if cfg.get('default_scope') == 'mmpretrain':
            from mmpretrain import ImageClassificationInferencer

            return ImageClassificationInferencer(cfg, pretrained=str(weights), device=device)
        from mmdet.apis import DetInferencer

        inferencer = DetInferencer(cfg, weights=str(weights), device=device, scope='mmdet')
    if 'dataset_meta' not in checkpoint.get('meta', {}):  # the library would take COCO's names
        meta = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True)).metainfo
        inferencer.model.dataset_meta = inferencer.visualizer.dataset_meta = meta
    return inferencer


def get_predictor(
    name: str, weights: str, device: str | None = None, trust_checkpoint: bool = False
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], list[str] | None]:
    """Build an inferencer, as :func:`get_inferencer` does, and make what :func:`as_predictor` does of it."""
    return as_predictor(load_inferencer(name, weights, device, trust_checkpoint))


def load_inferencer(
    name: str, weights: str, device: str | None = None, trust_checkpoint: bool = False
) -> 'DetInferencer | ImageClassificationInferencer':
    """Build an inferencer, as :func:`get_inferencer` does, without what the libraries log and print of it."""
    MMLogger.get_instance('infer', logger_name='infer', log_level='ERROR')
    with redirect_stdout(io.StringIO()):
        return get_inferencer(name, weights, device, trust_checkpoint)


def as_predictor(
    inferencer: 'DetInferencer | ImageClassificationInferencer',
) -> tuple[Callable[[np.ndarray], dict[str, np.ndarray]], list[str] | None]:
    """Make a quiet function of an inferencer; also return its classes or None.

    The function turns a picture (H, W, 3), 8 bit, blue first, into what :class:`~menet_mm.deploy.runner.Runner` makes of it.
    """
    inferencer.show_progress = False  # the caller shows one bar over all pictures
    if not hasattr(inferencer.model, 'dataset_meta'):
        from mmpretrain.utils import progress

        progress.disable_progress_bar = True
        return lambda image: dict(scores=inferencer(image)[0]['pred_scores']), inferencer.classes

    def detect(image: np.ndarray) -> dict[str, np.ndarray]:
        found = inferencer(image, return_datasamples=True)['predictions'][0].pred_instances.cpu().numpy()
        return dict(boxes=found.bboxes, scores=found.scores, labels=found.labels)

    return detect, inferencer.model.dataset_meta['classes']
