"""An exported classifier: the authors' figures, beside PyTorch and in the test script, in batches, 8 bit and bf16."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, init_default_scope

from menet_mm import InputError
from menet_mm.checkpoints import read_checkpoint
from menet_mm.deploy import Runner, export
from menet_mm.deploy.forms import BLOCKS
from menet_mm.deploy.runtimes import RUNTIMES
from menet_mm.deploy.runtimes.openvino import without_amx

# Tests in parallel share the checkpoint and the exported models.
pytestmark = pytest.mark.xdist_group('export')

CLASSIFIER = 'configs/menet108_in1k.py'
#: ONNX Runtime's files are there in seconds; the others' are made from them, or by a slow converter.
SLOW = pytest.mark.slow


@pytest.fixture(
    scope='module', params=['onnxruntime', pytest.param('openvino', marks=SLOW), pytest.param('ncnn', marks=SLOW)]
)
def exported(request, tool_here, menet108, tmp_path_factory) -> SimpleNamespace:
    """The authors' classifier as a user exports it, for each runtime."""
    runtime = RUNTIMES[request.param]
    path = tmp_path_factory.mktemp(runtime.name) / f'classifier{runtime.suffix}'
    said = tool_here('export.py', CLASSIFIER, menet108, '--to', runtime.format, '--out', path)
    return SimpleNamespace(runtime=runtime, path=path, said=said)


@pytest.fixture(scope='module')
def sample(shared, menet108) -> SimpleNamespace:
    """The ILSVRC sample, with MMPretrain's inputs and PyTorch's logits."""
    folder = shared / 'data/ilsvrc_sample'
    pairs = [line.split() for line in (folder / 'val.txt').read_text().splitlines()]
    images = [cv2.imread(str(folder / 'images' / name)) for name, _ in pairs]
    cfg = Config.fromfile(CLASSIFIER)
    init_default_scope(cfg.default_scope)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor)).eval()
    model.load_state_dict(read_checkpoint(menet108)['state_dict'])
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    data = [pipeline(dict(img_path=str(folder / 'images' / name), gt_label=int(label))) for name, label in pairs]
    inputs = model.data_preprocessor(pseudo_collate(data))['inputs']
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in inputs.split(25)]).numpy()
    return SimpleNamespace(
        images=images, labels=[int(label) for _, label in pairs], inputs=inputs.numpy(), logits=logits
    )


def refusal_of_bf16(runtime: str) -> str | None:
    """What is said to bf16 here, if it is not possible."""
    if runtime != 'openvino':
        return f"{runtime} computes in fp32, but got 'bf16'"
    import openvino

    with without_amx():
        capabilities = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return None if 'BF16' in capabilities else 'this processor has no bf16 for OpenVINO'


def as_network_gets_it(runner: Runner, images: list[np.ndarray]) -> np.ndarray:
    return np.stack([runner.preprocess(image) for image in images])


def test_authors_classifier_gives_the_reference_figures(exported, sample):
    """157 and 211 of the 250 pictures, as the authors' own code gives them."""
    runner = Runner(exported.path, threads=1)
    batch = as_network_gets_it(runner, sample.images)
    assert np.array_equal(batch, sample.inputs)
    (logits,) = runner.infer(batch)
    difference = np.abs(logits - sample.logits).max() / np.abs(sample.logits).max()
    assert difference < exported.runtime.tolerance
    found = runner.postprocess([logits], [image.shape[:2] for image in sample.images])
    best = np.array([np.argsort(-scores['scores'])[:5] for scores in found])
    right = best == np.array(sample.labels)[:, None]
    assert (right[:, 0].sum(), right.sum()) == (157, 211)
    assert runner(sample.images[0])[0]['scores'] == pytest.approx(found[0]['scores'], abs=1e-6)


def test_the_test_script_measures_an_exported_model(tool_here, exported, shared, tmp_path):
    data, folder = 'test_dataloader.dataset', f'{shared}/data/ilsvrc_sample'
    options = (f'{data}.data_root={folder}', f'{data}.ann_file=val.txt', f'{data}.data_prefix=images', f'{data}.split=')
    options += ('test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    out = tmp_path / 'metrics.json'

    def top1(*more: str) -> float:
        metrics = ('--out', out, '--out-item', 'metrics', '--work-dir', tmp_path)
        tool_here('test.py', CLASSIFIER, exported.path, *metrics, *more, '--cfg-options', *options)
        return json.loads(out.read_text())['accuracy/top1']

    assert top1() == pytest.approx(100 * 157 / 250, abs=1e-4)
    if refusal := refusal_of_bf16(exported.runtime.name):
        with pytest.raises(SystemExit, match=f'^error: {refusal}'):
            top1('--precision', 'bf16')
    else:
        assert top1('--precision', 'bf16') == pytest.approx(100 * 157 / 250, abs=4)
    with pytest.raises(SystemExit, match='^error: .* is an exported model'):
        tool_here('test.py', CLASSIFIER, exported.path, '--tta')


def test_the_command_needs_no_torch(tool, exported, shared, without_libraries):
    tench = sorted((shared / 'data/ilsvrc_sample/images').iterdir())[0]
    said = tool('infer.py', tench, '--model', exported.path, **without_libraries).stdout
    assert f'{tench}: tench, Tinca tinca 0.' in said


def test_the_description_has_what_a_caller_needs(exported, menet108):
    files = [*exported.runtime.files(exported.path), Path(f'{exported.path}.json')]
    last = exported.said.strip().splitlines()[-1]
    assert last.startswith(f'{", ".join(map(str, files))} (')
    assert re.search(r'scores differ from PyTorch by up to \S+ on 8 pictures', last)
    content = json.loads(files[-1].read_text())
    assert content['checkpoint_sha256'] == hashlib.sha256(menet108.read_bytes()).hexdigest()
    assert content['config'] == Path(CLASSIFIER).name
    assert {'menet_mm', 'torch', exported.runtime.name} <= content['versions'].keys()
    given = content['input']
    assert (given['channel_order'], given['layout'], given['dtype']) == ('RGB', 'NCHW', 'float32')
    assert (given['mean'], given['std']) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    assert given['shape'] == [1, 3, 224, 224]
    assert (content['precision'], content['dynamic_batch']) == ('fp32', False)
    assert content['classes'][0] == 'tench, Tinca tinca'
    assert len(content['classes']) == 1000
    assert set(exported.path.parent.iterdir()) == set(files)


@pytest.mark.slow
@pytest.mark.parametrize(('ending', 'block'), [*(('.onnx', block) for block in BLOCKS), ('.xml', None)])
def test_batches(menet108, sample, tmp_path, ending, block):
    out, images = tmp_path / f'model{ending}', sample.images[:3]
    export(CLASSIFIER, str(menet108), out, images[:1], dynamic_batch=True, block=block)
    runner = Runner(out)
    (together,) = runner.infer(sample.inputs[:3])
    for i, (image, found) in enumerate(zip(images, runner(images), strict=True)):
        (alone,) = runner.infer(sample.inputs[i : i + 1])
        assert alone.shape == (1, 1000)
        assert np.abs(together[i] - alone[0]).max() <= 1e-5 * np.abs(alone).max()
        assert found['scores'] == pytest.approx(runner(image)[0]['scores'], abs=1e-3)


@pytest.mark.parametrize('ending', ['.onnx', pytest.param('.xml', marks=SLOW)])
def test_8_bit_keeps_most_answers(tool_here, menet108, sample, voc_root, tmp_path, ending):
    """Most stay; with weights of all 8 bits, 37 (ONNX Runtime) and 135 (OpenVINO) of 250 did on a processor without VNNI."""
    folder, out = f'{voc_root}/VOC2007/JPEGImages', tmp_path / f'int8{ending}'
    to = ('--to', dict([('.onnx', 'onnx'), ('.xml', 'openvino')])[ending], '--out', out)
    said = tool_here('export.py', CLASSIFIER, menet108, *to, '--int8', '--calib', folder, '--calib-images', 60)
    assert 'quantizing with 60 pictures ...' in said
    assert float(re.findall(r'differ from PyTorch by up to (\S+) on', said)[0]) > 1e-2  # so it is not fp32
    runner = Runner(out, threads=1)
    assert runner.description.precision == 'int8'
    (logits,) = runner.infer(sample.inputs)
    assert (logits.argmax(1) == sample.logits.argmax(1)).sum() > 175
    assert (logits.argmax(1) == np.array(sample.labels)).sum() > 140
    assert set(path.suffix for path in tmp_path.iterdir()) == {ending, '.json', *(['.bin'] if ending == '.xml' else [])}
    if ending == '.xml':
        # Whoever lets OpenVINO use all that the processor has is told where that goes wrong.
        code = f'from menet_mm.deploy import Runner; Runner({str(out)!r})'
        environment = {**os.environ, 'ONEDNN_MAX_CPU_ISA': 'ALL'}
        loaded = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
        wrong = 'amx_int8' in Path('/proc/cpuinfo').read_text()
        assert ('with AMX, which it does wrongly in 8 bit' in loaded.stderr) == wrong, loaded.stderr
        assert (loaded.returncode != 0) == wrong


def test_half_precision(exported, sample):
    """Numbers of 8 significant bits, where the processor has them: 244 of the 250 answers stay."""
    if refusal := refusal_of_bf16(exported.runtime.name):
        with pytest.raises(InputError, match=refusal):
            Runner(exported.path, precision='bf16')
        return
    runner = Runner(exported.path, threads=1, precision='bf16')
    (logits,) = runner.infer(sample.inputs)
    assert np.abs(logits - sample.logits).max() > 1e-3 * np.abs(sample.logits).max()  # so it is not fp32
    assert (logits.argmax(1) == sample.logits.argmax(1)).sum() > 225
