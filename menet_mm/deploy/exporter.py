"""Writing models for ONNX Runtime, OpenVINO and ncnn, with all that a caller needs, and checking what was written."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
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
from menet_mm.checkpoints import check_fit, read_checkpoint
from menet_mm.errors import InputError

from .rewrite import to_deploy
from .runner import FORMAT, RUNTIMES, Runner, check_model_path, description_path, preprocess

#: ONNX Runtime runs AveragePool and others of opset 20 slower.
OPSET = 18
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


class Logits(nn.Module):
    """A classifier as a function of one tensor: (N, 3, h, w) -> logits (N, C)."""

    outputs = ('logits',)

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits."""
        return self.model(image, mode='tensor')


class RawDetections(nn.Module):
    """An SSD detector up to NMS: (N, 3, h, w) -> boxes (N, A, 4) in pixels of the input, and scores (N, A, C).

    Args:
        model: MMDetection's single-stage detector with an SSDHead.
        size: (h, w) of the input.
    """

    outputs = ('boxes', 'scores')

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.size = size
        with torch.inference_mode():
            maps, _ = model.bbox_head(model.extract_feat(torch.zeros(1, 3, *size)))
        priors = model.bbox_head.prior_generator.grid_priors([m.shape[-2:] for m in maps], device='cpu')
        #: Anchors of each level.
        self.anchors = [len(level) for level in priors]
        corners = torch.cat(priors).clone()
        coder = model.bbox_head.bbox_coder
        self.register_buffer('prior_size', corners[:, 2:] - corners[:, :2])
        self.register_buffer('prior_centre', (corners[:, 2:] + corners[:, :2]) / 2)
        self.register_buffer('means', corners.new_tensor(coder.means))
        self.register_buffer('stds', corners.new_tensor(coder.stds))
        # mmdet.structures.bbox.delta2bbox lets a box grow by no more than this.
        self.largest = float(np.log(1000 / 16))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute boxes and scores of all anchors."""
        maps, deltas = self.model.bbox_head(self.model.extract_feat(image))
        classes = self.model.bbox_head.cls_out_channels
        scores = torch.cat([m.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, classes)) for m in maps], dim=1)
        deltas = torch.cat([d.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for d in deltas], dim=1)
        deltas = deltas * self.stds + self.means
        centre = self.prior_centre + deltas[..., :2] * self.prior_size
        half = self.prior_size * deltas[..., 2:].clamp(-self.largest, self.largest).exp() / 2
        height, width = self.size
        low, high = centre - half, centre + half
        boxes = torch.stack(
            [
                low[..., 0].clamp(0, width),
                low[..., 1].clamp(0, height),
                high[..., 0].clamp(0, width),
                high[..., 1].clamp(0, height),
            ],
            dim=-1,
        )
        # The last class is the background.
        return boxes, scores.softmax(-1)[..., :-1]


def export(
    config: str | Path,
    checkpoint: str,
    out: str | Path,
    images: Sequence[np.ndarray],
    int8: bool = False,
    calibration: Sequence[np.ndarray] = (),
    dynamic_batch: bool = False,
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
    with _quiet():
        model = MODELS.build(cfg.model).eval()
    check_exportable(model)
    content = read_checkpoint(checkpoint, trust_checkpoint)
    check_fit(model, content)
    model.load_state_dict(content.get('state_dict', content))
    steps, size = preprocess_steps(cfg)
    with _quiet():
        description = describe(cfg, model, steps, size, content, checkpoint)
    reference = make_function(model, size)
    example = torch.rand(1, 3, *size)
    form = make_function(to_deploy(model, runtime), size)
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
        with _quiet():
            write_model(runtime, form, example, draft, dynamic_batch)
        if int8:
            progress(f'quantizing with {len(calibration)} pictures')
            batches = [preprocess(image, description)[None] for image in calibration]
            with _quiet():
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
        images: pictures, as ``cv2.imread`` gives them.
    """
    scores = boxes = 0.0
    # np.maximum keeps NaN, max may not.
    for image in images:
        batch = runner.preprocess(image)[None]
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
            with _quiet():
                import_module(name)
        except ModuleNotFoundError:
            raise InputError(f"export needs {name}: run `pip install 'menet-mm[export,edge]'`") from None


def check_exportable(model: nn.Module) -> None:
    """Check that export knows this kind of model.

    Raises:
        InputError: if it is neither a classifier nor an SSD detector of the usual kind.
    """
    kind = type(model).__name__
    if kind == 'ImageClassifier':
        return
    head = type(getattr(model, 'bbox_head', None)).__name__
    if head != 'SSDHead':
        raise InputError(
            f'{kind}{f" with {head}" if head != "NoneType" else ""} cannot be exported, classifiers and SSD can: run it in '
            "PyTorch with menet_mm.deploy.to_deploy(model, 'torch')"
        )
    coder = model.bbox_head.bbox_coder
    if type(coder).__name__ != 'DeltaXYWHBBoxCoder' or coder.add_ctr_clamp or not coder.clip_border:
        raise InputError(
            'export knows SSD with DeltaXYWHBBoxCoder, clip_border and no add_ctr_clamp: change bbox_coder'
        )
    nms = model.test_cfg.nms
    if nms.get('type', 'nms') != 'nms' or nms.keys() - {'type', 'iou_threshold'}:
        raise InputError(f'export knows SSD with plain NMS of each class, but test_cfg.nms is {dict(nms)}: change it')


def make_function(model: nn.Module, size: tuple[int, int]) -> Logits | RawDetections:
    """Make a function of one tensor out of a classifier or an SSD detector.

    Args:
        model: the model, as built from a config or of :func:`to_deploy`.
        size: (h, w) of the input.

    Raises:
        InputError: if it is of another kind.
    """
    check_exportable(model)
    return Logits(model) if type(model).__name__ == 'ImageClassifier' else RawDetections(model, size)


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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what libraries print; errors still come as exceptions."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter('ignore')
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


def _write_onnx(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    batch = {0: torch.export.Dim('batch')}
    torch.onnx.export(
        form,
        (example,),
        path,
        input_names=['image'],
        output_names=list(getattr(form, 'outputs', ('output',))),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
        dynamic_shapes=(batch,) if dynamic_batch else None,
    )


def _write_openvino(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    openvino = import_module('openvino')
    with tempfile.TemporaryDirectory() as folder:
        onnx = Path(folder) / 'model.onnx'
        _write_onnx(form, example, onnx, dynamic_batch)
        openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


def _write_ncnn(form: nn.Module, example: Tensor, path: Path, dynamic_batch: bool) -> None:
    converter = import_module('pnnx').EXEC_PATH
    with tempfile.TemporaryDirectory() as folder:
        traced = Path(folder) / 'model.pt'
        torch.jit.trace(form, example).save(traced)
        shape = ','.join(map(str, example.shape))
        done = subprocess.run(
            [converter, traced.name, f'inputshape=[{shape}]', 'fp16=0'], cwd=folder, capture_output=True, text=True
        )
        written = {suffix: Path(folder) / f'model.ncnn{suffix}' for suffix in ('.param', '.bin')}
        if done.returncode or not all(file.is_file() for file in written.values()):
            raise RuntimeError(f'pnnx ended with status {done.returncode}: {done.stderr[-500:]}')
        for suffix, file in written.items():
            shutil.move(file, path.with_suffix(suffix))


def _quantize_onnx(path: Path, batches: list[np.ndarray]) -> None:
    quantization = import_module('onnxruntime.quantization')

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(batches)

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {'image': batch}

    quantized = path.with_name(f'int8-{path.name}')
    quantization.quantize_static(str(path), str(quantized), Reader(), per_channel=True)
    os.replace(quantized, path)


def _quantize_openvino(path: Path, batches: list[np.ndarray]) -> None:
    nncf, openvino = import_module('nncf'), import_module('openvino')
    model = openvino.Core().read_model(path)
    quantized = nncf.quantize(
        model, nncf.Dataset(batches), subset_size=len(batches), preset=nncf.QuantizationPreset.MIXED
    )
    # The model's weights lie in the file that is replaced.
    folder = path.with_name('int8')
    openvino.save_model(quantized, folder / path.name, compress_to_fp16=False)
    del model, quantized
    for suffix in ('.xml', '.bin'):
        os.replace((folder / path.name).with_suffix(suffix), path.with_suffix(suffix))
    folder.rmdir()


def write_model(runtime: str, function: nn.Module, example: Tensor, path: Path, dynamic_batch: bool = False) -> None:
    """Write a function of one tensor for a runtime, as 32-bit floats.

    Args:
        runtime: ``onnxruntime``, ``openvino`` or ``ncnn``.
        function: such as :func:`make_function` returns; its ``outputs`` name the results, ``output`` if it has none.
        example: an input of the size that the model will take.
        path: file with the runtime's ending.
        dynamic_batch: let the first dimension vary.
    """
    write = {'onnxruntime': _write_onnx, 'openvino': _write_openvino, 'ncnn': _write_ncnn}[runtime]
    write(function, example, path, dynamic_batch)


def quantize(runtime: str, path: Path, batches: list[np.ndarray]) -> None:
    """Quantize a written model to 8 bit, in place, with the runtime's own tool.

    Args:
        runtime: ``onnxruntime`` or ``openvino``.
        path: the model.
        batches: inputs to calibrate on.
    """
    {'onnxruntime': _quantize_onnx, 'openvino': _quantize_openvino}[runtime](path, batches)
