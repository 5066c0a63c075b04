"""Exporting a trained model: it is written for a runtime with all that a caller needs, and what was written is checked."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

import menet_mm
from menet_mm.checkpoints import check_fit, get_state, read_checkpoint
from menet_mm.errors import InputError

from .forms import to_deploy
from .functions import RawDetections, check_exportable, make_function
from .runner import FORMAT, RUNTIMES, Runner, check_model_path, description_path, preprocess
from .writers import quantize, quiet, write_model

#: What an exported file may differ from PyTorch: logits relative to the largest, boxes in pixels, scores.
TOLERANCE = {'onnxruntime': 1e-4, 'openvino': 1e-4, 'ncnn': 1e-3}
BOX_TOLERANCE, SCORE_TOLERANCE = 0.1, 1e-3
#: Settings of steps of a test pipeline that export knows, or that concern reading files or annotations alone.
STEP_SETTINGS = {
    'type',
    '_scope_',
    'scale',
    'edge',
    'keep_ratio',
    'crop_size',
    'backend',
    'backend_args',
    'clip_object_border',
}


class Difference(NamedTuple):
    """Largest differences of an exported model from PyTorch's over some pictures."""

    #: Of logits, relative to the largest |logit|, or of scores.
    scores: float
    #: Of boxes whose score counts, in pixels of the input; 0 of a classifier.
    boxes: float


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

    Nothing is left at ``out`` unless the comparison holds.

    Args:
        config: config file.
        checkpoint: file.
        out: ``.onnx``, ``.xml`` (OpenVINO) or ``.param`` (ncnn); the ending chooses the runtime. A description
            (its name and ``.json``, see docs/deployment.md) is written beside it, and weights (``.bin``).
        images: pictures to compare on, as ``cv2.imread`` gives them.
        int8: quantize to 8 bit with the runtime's own tool; the difference is measured, but no bound is set.
        calibration: pictures for that.
        dynamic_batch: let the batch size vary (not with ncnn).
        block: for ONNX Runtime, see :func:`to_deploy`.
        trust_checkpoint: unpickle any object in the checkpoint, which may run code.
        progress: gets a line at every step.

    Returns:
        The differences found.

    Raises:
        InputError: if the model, the checkpoint or an option does not fit, or the written file computes something else.
    """
    out = check_model_path(out)
    runtime = RUNTIMES[out.suffix]
    if not images:
        raise InputError('export needs at least one picture to compare on')
    _check_options(runtime, int8, calibration, dynamic_batch)
    other = out.with_suffix({'.xml': '.param', '.param': '.xml'}.get(out.suffix, '.none'))
    if other.exists():
        raise InputError(
            f'the weights of {out.name} and {other.name} would both be {out.stem}.bin: choose another --out'
        )
    for path in (config, checkpoint):
        if not Path(path).is_file():
            raise InputError(f'no file {path}: export needs a config file and a checkpoint file')
    cfg = Config.fromfile(config)
    init_default_scope(cfg.get('default_scope'))
    with quiet():
        model = MODELS.build(cfg.model).eval()
    check_exportable(model)
    content = read_checkpoint(checkpoint, trust_checkpoint)
    check_fit(model, content)
    model.load_state_dict(get_state(content))
    steps, size = preprocess_steps(cfg)
    with quiet():
        description = describe(cfg, model, steps, size, content, checkpoint)
    reference = make_function(model, size)
    example = torch.rand(1, 3, *size)
    form = make_function(to_deploy(model, runtime, block), size)
    if isinstance(reference, RawDetections):
        description['nms']['anchors'] = reference.anchors
    description |= dict(
        runtime=runtime,
        precision='int8' if int8 else 'fp32',
        dynamic_batch=dynamic_batch,
        outputs=['out0', 'out1'][: len(form.outputs)] if runtime == 'ncnn' else list(form.outputs),
        versions=_versions(runtime),
    )
    if runtime == 'ncnn':
        description['input']['name'] = 'in0'
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix='.export') as folder:
        draft = Path(folder) / out.name
        description_path(draft).write_text(json.dumps(description, indent=1))
        progress(f'writing {runtime} model')
        with quiet():
            write_model(runtime, form, example, draft, dynamic_batch)
        if int8:
            progress(f'quantizing with {len(calibration)} pictures')
            batches = [preprocess(image, description)[None] for image in calibration]
            with quiet():
                quantize(runtime, draft, batches)
        progress(f'comparing with PyTorch on {len(images)} pictures')
        runner = Runner(draft)
        found = compare(runner, reference, images)
        allowed = TOLERANCE[runtime] if runner.description['task'] == 'classification' else SCORE_TOLERANCE
        holds = np.isfinite(found).all() if int8 else found.scores <= allowed and found.boxes <= BOX_TOLERANCE
        if not holds:
            raise InputError(
                f'the exported model differs from PyTorch by {found.scores:.1e} in scores and {found.boxes:.2f} px in boxes, '
                f'more than {allowed:g} and {BOX_TOLERANCE}: nothing was written; please report it with config and versions'
            )
        del runner
        for path in sorted(Path(folder).iterdir(), key=lambda path: path.suffix == '.json'):
            os.replace(path, out.parent / path.name)
    return found


def compare(runner: Runner, reference: nn.Module, images: Sequence[np.ndarray]) -> Difference:
    """Measure how an exported model differs from PyTorch's, both given the runner's input.

    Args:
        runner: of the exported model.
        reference: :class:`Logits` or :class:`RawDetections` of the model as it was trained.
        images: pictures, as ``cv2.imread`` gives them; each alone, or with its mirror image if the model takes any batch.
    """
    scores = boxes = 0.0
    # np.maximum keeps NaN, max may not.
    for image in images:
        batch = runner.preprocess(image)[None]
        if runner.description['dynamic_batch']:
            # torch.export may have taken the example's batch of one for a constant, without a word.
            batch = np.concatenate((batch, batch[..., ::-1]))
        with torch.inference_mode():
            wanted = reference(torch.from_numpy(batch))
        got = runner.infer(batch)
        if isinstance(wanted, Tensor):
            scores = np.maximum(scores, np.abs(got[0] - wanted.numpy()).max() / wanted.abs().max().item())
            continue
        wanted_boxes, wanted_scores = (value.numpy() for value in wanted)
        scores = np.maximum(scores, np.abs(got[1] - wanted_scores).max())
        counts = wanted_scores.max(-1) > runner.description['nms']['score_threshold']
        boxes = np.maximum(boxes, np.abs(got[0] - wanted_boxes)[counts].max(initial=0.0))
    return Difference(float(scores), float(boxes))


def _check_options(runtime: str, int8: bool, calibration: Sequence[np.ndarray], dynamic_batch: bool) -> None:
    if int8 and runtime == 'ncnn':
        raise InputError("ncnn's quantizer is no part of its Python package: use .onnx or .xml with --int8")
    if int8 and not calibration:
        raise InputError('--int8 needs pictures to calibrate on: give a folder with --calib')
    if dynamic_batch and runtime == 'ncnn':
        raise InputError('ncnn runs one picture at a time: leave --dynamic-batch out, or use .onnx or .xml')
    needed = {'onnxruntime': ('onnx', 'onnxscript'), 'openvino': ('onnx', 'onnxscript'), 'ncnn': ('pnnx',)}[runtime]
    for name in (runtime, *needed, *(['nncf'] if int8 and runtime == 'openvino' else [])):
        try:
            with quiet():
                import_module(name)
        except ModuleNotFoundError:
            raise InputError(f"export needs {name}: run `pip install 'menet-mm[export,edge]'`") from None


def preprocess_steps(cfg: Config) -> tuple[list[dict], tuple[int, int]]:
    """Read from the test pipeline how a picture becomes the model's input.

    Returns:
        Steps for :class:`Runner`, and (h, w) of the result.

    Raises:
        InputError: if the pipeline does something else than resize to, or crop, one size.
    """
    steps, size = [], None
    for step in cfg.test_dataloader.dataset.pipeline:
        kind = step['type'].rpartition('.')[2]
        if kind in ('LoadImageFromFile', 'ResizeEdge', 'CenterCrop', 'Resize'):
            bilinear = {'interpolation'} if step.get('interpolation') == 'bilinear' else set()
            unknown = step.keys() - STEP_SETTINGS - bilinear
            if unknown:
                raise InputError(f'{kind} of the test pipeline has {", ".join(sorted(unknown))}: export cannot do that')
        backend = step.get('backend', 'cv2')
        if kind == 'ResizeEdge' and step.get('edge', 'short') == 'short':
            steps.append(dict(type=kind, scale=step['scale'], backend=backend))
        elif kind == 'CenterCrop':
            crop = step['crop_size']
            size = (crop, crop) if isinstance(crop, int) else tuple(crop)
            steps.append(dict(type=kind, crop_size=size))
        elif kind == 'Resize' and not step.get('keep_ratio'):
            scale = step['scale']
            size = (scale, scale) if isinstance(scale, int) else tuple(scale)[::-1]
            steps.append(dict(type=kind, scale=size[::-1], backend=backend))
        elif kind not in ('LoadImageFromFile', 'LoadAnnotations', 'PackInputs', 'PackDetInputs'):
            raise InputError(
                f'the test pipeline has {kind}{" that keeps the ratio" if kind == "Resize" else ""}: export knows ResizeEdge, '
                'CenterCrop and Resize to one size'
            )
    if size is None:
        # The pictures are used as they are, so they have the size that training crops to.
        crops = [step['scale'] for step in cfg.train_dataloader.dataset.pipeline if 'scale' in step]
        if steps or not crops or not isinstance(crops[-1], int):
            raise InputError('the test pipeline gives no fixed size: add CenterCrop, or Resize with keep_ratio=False')
        size = (crops[-1], crops[-1])
        steps.append(dict(type='Resize', scale=size, backend='cv2'))
    divisor = cfg.model.get('data_preprocessor', {}).get('pad_size_divisor', 1)
    if size[0] % divisor or size[1] % divisor:
        raise InputError(f'pictures of {size[1]} x {size[0]} would be padded to multiples of {divisor}: resize to some')
    return steps, size


def describe(
    cfg: Config, model: nn.Module, steps: list[dict], size: tuple[int, int], content: dict, checkpoint: str
) -> dict:
    """Collect what a caller of the exported model needs besides the file."""
    # Where MMPretrain and where MMDetection has it, and under which name.
    preprocessor = cfg.model.get('data_preprocessor') or cfg.data_preprocessor
    rgb = preprocessor.get('to_rgb') or preprocessor.get('bgr_to_rgb')
    meta = content.get('meta', {}).get('dataset_meta') or {}
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, lazy_init=True))
    classes = meta.get('classes') or meta.get('CLASSES') or dataset.metainfo.get('classes') or ()
    description = dict(
        format=FORMAT,
        task='classification' if cfg.default_scope == 'mmpretrain' else 'detection',
        input=dict(
            name='image',
            shape=[1, 3, *size],
            layout='NCHW',
            dtype='float32',
            channel_order='RGB' if rgb else 'BGR',
            mean=list(preprocessor.mean),
            std=list(preprocessor.std),
        ),
        preprocess=steps,
        classes=list(classes),
        config=Path(cfg.filename).name,
        checkpoint_sha256=hashlib.sha256(Path(checkpoint).read_bytes()).hexdigest(),
    )
    if description['task'] == 'detection':
        test = model.test_cfg
        description['score_threshold'] = test.score_thr
        description['nms'] = dict(
            score_threshold=test.score_thr,
            iou_threshold=test.nms.iou_threshold,
            pre=test.get('nms_pre', -1),
            # Boxes without area are left out in any case.
            min_size=max(0, test.get('min_bbox_size', 0)),
            max_per_image=test.max_per_img,
        )
    return description


def _versions(runtime: str) -> dict[str, str]:
    names = ('torch', runtime, 'onnx', 'pnnx', 'nncf')
    found = {'menet_mm': menet_mm.__version__}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
