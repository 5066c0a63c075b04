"""Exporting a trained model: it is written for a runtime with all that a caller needs, and what was written is checked."""

import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

from menet_mm import __version__
from menet_mm.checkpoints import check_fit, get_state, read_checkpoint
from menet_mm.errors import InputError
from menet_mm.utils.config import read_config
from menet_mm.utils.environment import library_versions
from menet_mm.utils.files import atomic_files
from menet_mm.utils.stack import check_exporter

from .description import Description, Input, Nms
from .forms import to_deploy
from .functions import Logits, RawDetections, check_exportable, make_function
from .pipeline import find_test_set, own_preprocess, preprocess_steps
from .runner import Runner, preprocess
from .runtimes import RUNTIMES, Runtime, runtime_of

#: What may differ from PyTorch: a detector's boxes in pixels and its scores, and the input. Of logits, see :class:`Runtime`.
BOX_TOLERANCE, SCORE_TOLERANCE, INPUT_TOLERANCE = 0.1, 1e-3, 1e-4
REPORT = 'nothing was written; please report it with config and versions'


class Difference(NamedTuple):
    """Largest differences from PyTorch: of scores, or logits relative to the largest, and of boxes that count, in pixels."""

    scores: float
    boxes: float


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what libraries print; errors still come as exceptions."""
    level = logging.root.manager.disable
    with warnings.catch_warnings(action='ignore'), redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def export(
    config: str | Path,
    checkpoint: str,
    out: str | Path,
    images: Sequence[np.ndarray],
    int8: bool = False,
    calibration: Sequence[np.ndarray] = (),
    dynamic_batch: bool = False,
    block: int | None = None,
    trust_checkpoint: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Difference:
    """Write a trained model for a runtime, and compare what was written with PyTorch on pictures.

    The arguments are the options of ``tools/export.py``. Pictures are as ``cv2.imread`` gives them: ``images`` to compare on,
    ``calibration`` for ``int8``, whose difference is measured, but has no bound. ``progress`` gets a line at every step.
    InputError if the model, the checkpoint or an option does not fit, or the written file computes something else; nothing is
    left at ``out`` then.
    """
    check_exporter()
    out = Path(out)
    if not images:
        raise InputError('export needs at least one picture to compare on')
    if int8 and not calibration:
        raise InputError('--int8 needs pictures to calibrate on: give a folder with --calib')
    runtime = _find_runtime(out, int8, dynamic_batch)
    cfg, model, content = _load(config, checkpoint, trust_checkpoint)
    size = preprocess_steps(cfg)[1]
    reference = make_function(model, size)
    form = make_function(to_deploy(model, runtime.name, block), size)
    sha256 = hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest()
    settings = dict(precision='int8' if int8 else 'fp32', dynamic_batch=dynamic_batch, checkpoint_sha256=sha256)
    description = describe(cfg, reference, runtime, content, **settings)
    with atomic_files(out.parent) as folder:
        draft = folder / out.name
        description.write(draft)
        progress(f'writing {runtime.name} model')
        with quiet():
            runtime.write(form, torch.rand(1, 3, *size), draft, dynamic_batch)
        if int8:
            progress(f'quantizing with {len(calibration)} pictures')
            with quiet():
                runtime.quantize(draft, [preprocess(image, description)[None] for image in calibration])
        progress(f'comparing with PyTorch on {len(images)} pictures')
        return compare(Runner(draft), reference, own_preprocess(cfg, model), images)


def _find_runtime(out: Path, int8: bool, dynamic_batch: bool) -> Runtime:
    """Tell the runtime of a file and check, before anything is loaded, that it can be written."""
    runtime = runtime_of(out)
    runtime.check(int8, dynamic_batch)
    for other in RUNTIMES.values():
        if other is not runtime and runtime.weights == other.weights and out.with_suffix(other.suffix).exists():
            names = f'{out.name} and {out.stem}{other.suffix}'
            raise InputError(f'the weights of {names} would both be {out.stem}{other.weights}: choose another --out')
    return runtime


@quiet()
def _load(config: str | Path, checkpoint: str, trust: bool) -> tuple[Config, nn.Module, dict]:
    """Read a config and build its model with the weights of a checkpoint."""
    cfg = read_config(config)
    init_default_scope(cfg.get('default_scope'))
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))  # as MMEngine's runner does
    model = MODELS.build(cfg.model).eval()
    check_exportable(model)
    content = read_checkpoint(checkpoint, trust)
    check_fit(model, content)
    model.load_state_dict(get_state(content))
    return cfg, model, content


@quiet()
def describe(
    cfg: Config, function: Logits | RawDetections, runtime: Runtime, content: dict, **settings: object
) -> Description:
    """Collect what a caller of the exported model needs: from the config, its model's function and a checkpoint's content."""
    steps, size = preprocess_steps(cfg)
    preprocessor = cfg.model.get('data_preprocessor') or {}
    # The libraries' names for exchanging the first and the last channel.
    rgb = any(preprocessor.get(name) for name in ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr'))
    mean, std = (list(preprocessor.get(name) or 3 * [default]) for name, default in (('mean', 0.0), ('std', 1.0)))
    meta = content.get('meta', {}).get('dataset_meta') or {}
    dataset = DATASETS.build(dict(find_test_set(cfg), lazy_init=True))
    classes = meta.get('classes') or meta.get('CLASSES') or dataset.metainfo.get('classes') or ()
    nms = None
    if isinstance(function, RawDetections):
        test = function.model.test_cfg
        smallest = max(0, test.get('min_bbox_size', 0))  # boxes without area are left out in any case
        limits = dict(pre=test.get('nms_pre', -1), min_size=smallest, max_per_image=test.max_per_img)
        nms = Nms(test.score_thr, test.nms.iou_threshold, **limits, anchors=function.anchors)
    task = 'detection' if nms else 'classification'
    given = Input(runtime.input_name, [1, 3, *size], 'RGB' if rgb else 'BGR', mean, std)
    names = dict(classes=[str(name) for name in classes], outputs=runtime.output_names(function.outputs))
    versions = library_versions(('torch', runtime.name, 'onnx', 'pnnx', 'nncf'))
    origin = dict(config=Path(cfg.filename).name, versions=dict(menet_mm=__version__, **versions))
    return Description(task, runtime.name, given, steps, **names, nms=nms, **origin, **settings)


def compare(
    runner: Runner, reference: nn.Module, own_preprocess: Callable[[np.ndarray], Tensor], images: Sequence[np.ndarray]
) -> Difference:
    """Measure how an exported model differs from the function of the trained one, each with its own preprocessing.

    Pictures are given alone, or with their mirror images if the model takes any batch. InputError if the inputs differ, or
    the outputs by more than is allowed; of an 8-bit model, if they are not finite.
    """
    differences, description = [], runner.description
    for image in images:
        own, batch = own_preprocess(image), runner.preprocess(image)[None]
        if own.shape != batch.shape or np.abs(own.numpy() - batch).max() > INPUT_TOLERANCE:
            raise InputError(f'the exported model would prepare pictures otherwise than the test pipeline: {REPORT}')
        if description.dynamic_batch:
            # torch.export may have taken the example's batch of one for a constant, silently.
            own, batch = torch.cat((own, own.flip(-1))), np.concatenate((batch, batch[..., ::-1]))
        with torch.inference_mode():
            wanted = reference(own)
        got = runner.infer(batch)
        if isinstance(wanted, Tensor):
            differences.append((np.abs(got[0] - wanted.numpy()).max() / wanted.abs().max().item(), 0.0))
        else:
            boxes, scores = (np.abs(value - right.numpy()) for value, right in zip(got, wanted, strict=True))
            counts = wanted[1].numpy().max(-1) > description.nms.score_threshold
            differences.append((scores.max(), boxes[counts].max(initial=0.0)))
    found = Difference(*np.max(differences, axis=0).tolist())  # NaN stays
    allowed = SCORE_TOLERANCE if description.nms else RUNTIMES[description.runtime].tolerance
    holds = found.scores <= allowed and found.boxes <= BOX_TOLERANCE
    if not (np.isfinite(found).all() if description.precision == 'int8' else holds):
        problem = f'differs from PyTorch by {found.scores:.1e} in scores and {found.boxes:.2f} px in boxes'
        problem += f', more than {allowed:g} and {BOX_TOLERANCE}'
        raise InputError(f'the exported model {problem}: {REPORT}')
    return found
