"""Exported models: what they compute, beside PyTorch, on real photographs, and without it."""

import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from menet_mm import InputError, get_inferencer
from menet_mm.checkpoints import read_checkpoint, write_checkpoint
from menet_mm.deploy import Runner, export
from menet_mm.deploy.forms import BLOCKS
from menet_mm.deploy.runner import without_amx

# Tests in parallel share the checkpoints and the exported models.
pytestmark = pytest.mark.xdist_group('export')

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSIFIER, DETECTOR = 'configs/menet108_in1k.py', 'configs/ssd_menet108_voc12.py'
ENDINGS = dict(onnx='.onnx', openvino='.xml', ncnn='.param')
#: ONNX Runtime's files are there in seconds; the others' are made from them, or by a slow converter.
SLOW = pytest.mark.slow
#: Of VOC 2012's val.txt: a dog, a cat, a cow, a rider, a sheep, a cow with a person.
LEARNT = ('2008_000059', '2008_000116', '2008_000905', '2008_001382', '2008_006477', '2008_007586')
LIBRARIES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain')


def build(config: str) -> tuple[Config, torch.nn.Module]:
    """Build a model as MMEngine's runner does."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return cfg, MODELS.build(cfg.model).eval()


@pytest.fixture(scope='module')
def menet108(tool, shared, tmp_path_factory) -> Path:
    """The authors' MENet-108, converted."""
    path = tmp_path_factory.mktemp('weights') / 'menet108.pth'
    tool('convert_checkpoint.py', shared / 'weights/108-MENet-8x1-group-3.pth.tar', path)
    return path


@pytest.fixture(scope='module')
def ssd(menet108, voc_root, tmp_path_factory) -> Path:
    """An SSD that knows a few photographs by heart: neck and head learn on the features of the authors' backbone."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('ssd')
    cfg = Config.fromfile(DETECTOR)
    cfg.model.backbone.init_cfg.checkpoint = str(menet108)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    model.init_weights()
    (folder / 'learnt.txt').write_text('\n'.join(LEARNT))
    data = dict(data_root=voc_root, ann_file=str(folder / 'learnt.txt'), test_mode=False)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, **data))
    batch = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(len(dataset))]), training=True)
    for sample in batch['data_samples']:
        sample.gt_instances.bboxes *= torch.tensor(sample.scale_factor * 2)
    model.train().backbone.eval().requires_grad_(False)
    with torch.no_grad():
        features = model.backbone(batch['inputs'])
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=60, pct_start=0.2)
    for _ in range(60):
        losses = model.bbox_head.loss(model.neck(features), batch['data_samples'])
        optimizer.zero_grad()
        sum(map(sum, losses.values())).backward()
        optimizer.step()
        schedule.step()
    path = folder / 'ssd.pth'
    write_checkpoint(path, model.state_dict(), dict(dataset_meta=dict(classes=list(dataset.metainfo['classes']))))
    return path


@pytest.fixture(scope='module')
def photographs(voc_root) -> list[Path]:
    """Those that the SSD knows, and others of several shapes."""
    folder = Path(voc_root) / 'VOC2007'
    others = (folder / 'ImageSets/Main/test.txt').read_text().split()[::4]
    return [Path(voc_root) / f'VOC2012/JPEGImages/{name}.jpg' for name in LEARNT] + [
        folder / f'JPEGImages/{name}.jpg' for name in others
    ]


@pytest.fixture(scope='module', params=['onnx', pytest.param('openvino', marks=SLOW), pytest.param('ncnn', marks=SLOW)])
def exported(request, tool, export_here, menet108, ssd, voc_root, tmp_path_factory) -> SimpleNamespace:
    """Classifier and detector as a user exports them, for each runtime."""
    folder = tmp_path_factory.mktemp(request.param)
    names = [folder / f'{kind}{ENDINGS[request.param]}' for kind in ('classifier', 'detector')]
    to = ('--to', request.param, '--out')
    said = [
        export_here(CLASSIFIER, menet108, *to, names[0]),
        tool('export.py', DETECTOR, ssd, *to, names[1], '--images', f'{voc_root}/VOC2007').stdout,
    ]
    return SimpleNamespace(runtime=request.param, classifier=names[0], detector=names[1], said=said)


@pytest.fixture(scope='module')
def sample(shared, menet108) -> SimpleNamespace:
    """The ILSVRC sample, with MMPretrain's inputs and PyTorch's logits."""
    folder = shared / 'data/ilsvrc_sample'
    pairs = [line.split() for line in (folder / 'val.txt').read_text().splitlines()]
    images = [cv2.imread(str(folder / 'images' / name)) for name, _ in pairs]
    cfg, model = build(CLASSIFIER)
    model.load_state_dict(read_checkpoint(menet108)['state_dict'])
    pipeline = Compose(cfg.test_dataloader.dataset.pipeline)
    data = [pipeline(dict(img_path=str(folder / 'images' / name), gt_label=int(label))) for name, label in pairs]
    inputs = model.data_preprocessor(pseudo_collate(data))['inputs']
    with torch.inference_mode():
        logits = torch.cat([model(part) for part in inputs.split(25)]).numpy()
    return SimpleNamespace(
        images=images, labels=[int(label) for _, label in pairs], inputs=inputs.numpy(), logits=logits
    )


@pytest.fixture(scope='module')
def by_mmdet(ssd, photographs) -> list:
    """What MMDetection's own inferencer finds."""
    detect = get_inferencer(DETECTOR, ssd)
    return [
        detect(cv2.imread(str(path)), return_datasamples=True)['predictions'][0].pred_instances.numpy()
        for path in photographs
    ]


@pytest.fixture(scope='module')
def by_torch(tool, ssd, photographs, tmp_path_factory) -> dict:
    """What tools/infer.py writes with the checkpoint."""
    table = tmp_path_factory.mktemp('torch') / 'results.json'
    tool('infer.py', *photographs, '--config', DETECTOR, '--weights', ssd, '--json', table, '--score-thr', 0.1)
    return json.loads(table.read_text())


def annotated(path: Path) -> list[tuple[str, np.ndarray]]:
    root = ET.parse(path.parent.parent / f'Annotations/{path.stem}.xml').getroot()
    sides = ('xmin', 'ymin', 'xmax', 'ymax')
    return [
        (found.find('name').text, np.array([float(found.find(f'bndbox/{side}').text) for side in sides]))
        for found in root.iter('object')
    ]


def iou(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = np.prod((high - low).clip(0))
    return common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def as_dicts(found: dict[str, np.ndarray], classes: list[str]) -> list[dict]:
    rows = zip(found['boxes'], found['scores'], found['labels'], strict=True)
    return [{'class': classes[label], 'score': score, 'box': box} for box, score, label in rows]


def finds_what_is_there(detections: list[dict], path: Path) -> bool:
    return all(
        any(d['class'] == name and d['score'] > 0.3 and iou(np.array(d['box']), box) > 0.5 for d in detections)
        for name, box in annotated(path)
    )


def refusal_of_bf16(runtime: str) -> str | None:
    """What is said to bf16 here, if it cannot be had."""
    if runtime != 'openvino':
        return "precision must be 'fp32', or 'bf16' on OpenVINO"
    import openvino

    with without_amx():
        capabilities = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return None if 'BF16' in capabilities else 'this processor has no bf16 for OpenVINO'


def as_network_gets_it(runner: Runner, images: list[np.ndarray]) -> np.ndarray:
    return np.stack([runner.preprocess(image) for image in images])


def test_authors_classifier_gives_the_reference_figures(exported, sample):
    """157 and 211 of the 250 pictures, as the authors' own code gives them."""
    runner = Runner(exported.classifier, threads=1)
    batch = as_network_gets_it(runner, sample.images)
    assert np.array_equal(batch, sample.inputs)
    (logits,) = runner.infer(batch)
    difference = np.abs(logits - sample.logits).max() / np.abs(sample.logits).max()
    assert difference < (1e-3 if exported.runtime == 'ncnn' else 1e-4)
    found = runner.postprocess([logits], [image.shape[:2] for image in sample.images])
    best = np.array([np.argsort(-scores['scores'])[:5] for scores in found])
    right = best == np.array(sample.labels)[:, None]
    assert (right[:, 0].sum(), right.sum()) == (157, 211)
    assert runner(sample.images[0])[0]['scores'] == pytest.approx(found[0]['scores'], abs=1e-6)


def test_the_test_script_measures_an_exported_model(tool, exported, shared, metric, shapes):
    data = 'test_dataloader.dataset'
    sample = f'{shared}/data/ilsvrc_sample'
    options = (f'{data}.data_root={sample}', f'{data}.ann_file=val.txt', f'{data}.data_prefix=images', f'{data}.split=')
    log = tool('test.py', CLASSIFIER, exported.classifier, '--cfg-options', *options).stdout
    assert metric(log, 'accuracy/top1') == pytest.approx(100 * 157 / 250, abs=1e-4)
    arguments = (CLASSIFIER, exported.classifier, '--precision', 'bf16', '--cfg-options', *options)
    refusal = refusal_of_bf16(exported.runtime)
    half = tool('test.py', *arguments, ok=not refusal).stdout
    if refusal:
        assert f'error: {refusal}' in half
    else:
        assert metric(half, 'accuracy/top1') == pytest.approx(100 * 157 / 250, abs=4)
    other = ('--cfg-options', f'{data}.data_root={shapes}/')
    said = tool('test.py', 'configs/ssd_menet228_shapes.py', exported.detector, *other, ok=False).stdout
    assert 'the data set has 4 classes' in said
    assert 'Traceback' not in said
    said = tool('test.py', CLASSIFIER, exported.classifier, '--tta', ok=False).stdout
    assert 'is an exported model' in said


def test_pictures_of_any_size_are_prepared_as_in_training(exported, photographs, tmp_path):
    # Besides the photographs, parts of one: enlarged, as large as the network's input, and with an odd margin to crop.
    whole = cv2.imread(str(photographs[0]))
    pictures = list(photographs)
    for height, width in [(17, 23), (224, 224), (320, 320), (256, 259), (259, 256), (400, 60)]:
        pictures.append(tmp_path / f'{height}x{width}.png')
        cv2.imwrite(str(pictures[-1]), whole[:height, :width])
    for path, config in [(exported.classifier, CLASSIFIER), (exported.detector, DETECTOR)]:
        cfg, model = build(config)
        # Annotations are of no concern here.
        pipeline = Compose([step for step in cfg.test_dataloader.dataset.pipeline if step.type != 'LoadAnnotations'])
        runner = Runner(path)
        shapes = set()
        for picture in pictures:
            data = pipeline(dict(img_path=str(picture), img_id=0, gt_label=0))
            wanted = model.data_preprocessor(pseudo_collate([data]))['inputs'][0].numpy()
            image = cv2.imread(str(picture))
            assert np.array_equal(runner.preprocess(image), wanted)
            shapes.add(image.shape)
        assert len(shapes) > 10


def test_boxes_are_those_of_mmdets_inferencer(exported, photographs, by_mmdet):
    runner = Runner(exported.detector, threads=1)
    total = 0
    for path, wanted in zip(photographs, by_mmdet, strict=True):
        (found,) = runner(cv2.imread(str(path)))
        taken = np.zeros(len(found['scores']), bool)
        for box, score, label in zip(wanted.bboxes, wanted.scores, wanted.labels, strict=True):
            apart = np.abs(found['boxes'] - box).max(1)
            same = (apart <= 0.1) & (np.abs(found['scores'] - score) <= 1e-3) & (found['labels'] == label) & ~taken
            assert same.any() or score < 0.021, f'{path}: nothing at {box} of class {label}, {score}'
            if same.any():
                taken[np.where(same, apart, np.inf).argmin()] = True
        assert taken[found['scores'] >= 0.021].all()  # nothing else
        total += taken.sum()
    assert total > 100 * len(photographs) / 2


def test_the_command_finds_what_it_found_with_the_checkpoint(tool, exported, photographs, by_torch, tmp_path):
    out, table = tmp_path / 'out', tmp_path / 'results.json'
    said = tool(
        *('infer.py', *photographs, '--model', exported.detector, '--score-thr', 0.1, '--out', out, '--json', table)
    ).stdout
    assert f'{len(photographs)} pictures, ' in said
    content = json.loads(table.read_text())
    assert content['model'] == str(exported.detector)
    assert content['classes'] == by_torch['classes']
    count = 0
    for entry, wanted, path in zip(content['results'], by_torch['results'], photographs, strict=True):
        assert {**entry, 'detections': 0} == {**wanted, 'detections': 0}
        assert [found['class'] for found in entry['detections']] == [found['class'] for found in wanted['detections']]
        for found, other in zip(entry['detections'], wanted['detections'], strict=True):
            assert found['score'] == pytest.approx(other['score'], abs=1.1e-3)
            assert found['box'] == pytest.approx(other['box'], abs=0.2)
            count += 1
        drawing, picture = cv2.imread(str(out / path.name)), cv2.imread(str(path))
        assert drawing.shape == picture.shape
        assert not entry['detections'] or (np.abs(drawing.astype(int) - picture) > 60).any()
    assert count > len(photographs)
    for entry, path in zip(content['results'][: len(LEARNT)], photographs, strict=False):
        assert finds_what_is_there(entry['detections'], path)


@pytest.fixture(scope='module')
def without_libraries(tmp_path_factory) -> dict[str, str]:
    """Environment of an interpreter that has none of the libraries that models are trained with."""
    folder = tmp_path_factory.mktemp('site')
    (folder / 'sitecustomize.py').write_text(f'import sys\nsys.modules.update(dict.fromkeys({LIBRARIES}))\n')
    return dict(PYTHONPATH=os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]))


def test_objects_in_a_photograph_are_found_without_torch(tool, exported, photographs, without_libraries, tmp_path):
    script = tmp_path / 'detect.py'
    script.write_text(f"""
import sys
for name in {LIBRARIES}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    sys.exit(f'{{name}} is there')
import cv2
from menet_mm.deploy import Runner
detect = Runner({str(exported.detector)!r})
(found,) = detect(cv2.imread({str(photographs[3])!r}))
for box, score, label in zip(found['boxes'], found['scores'], found['labels']):
    print('found', detect.classes[label], score, *box)
assert not [name for name, module in sys.modules.items() if name.split('.')[0] in {LIBRARIES} and module]
""")
    said = tool(script, **without_libraries).stdout
    rows = [line.split()[1:] for line in said.splitlines() if line.startswith('found ')]
    detections = [
        {'class': name, 'score': float(score), 'box': [float(value) for value in box]} for name, score, *box in rows
    ]
    assert {name for name, _ in annotated(photographs[3])} == {'horse', 'person'}
    assert finds_what_is_there(detections, photographs[3])


def test_the_command_needs_no_torch(tool, exported, photographs, shared, without_libraries, tmp_path):
    table = tmp_path / 'results.json'
    arguments = ('infer.py', photographs[0], '--json', table, '--out', tmp_path / 'out')
    tool(*arguments, '--model', exported.detector, **without_libraries)
    assert finds_what_is_there(json.loads(table.read_text())['results'][0]['detections'], photographs[0])
    tench = sorted((shared / 'data/ilsvrc_sample/images').iterdir())[0]
    said = tool('infer.py', tench, '--model', exported.classifier, **without_libraries).stdout
    assert f'{tench}: tench, Tinca tinca 0.' in said
    # What does need them fails, so they were really missing.
    tool(*arguments, '--config', DETECTOR, '--weights', 'x.pth', ok=False, **without_libraries)


def test_the_description_has_what_a_caller_needs(exported, menet108, ssd):
    for path, said, config, checkpoint in [
        (exported.classifier, exported.said[0], CLASSIFIER, menet108),
        (exported.detector, exported.said[1], DETECTOR, ssd),
    ]:
        files = [path, *([] if path.suffix == '.onnx' else [path.with_suffix('.bin')]), Path(f'{path}.json')]
        last = said.strip().splitlines()[-1]
        assert last.startswith(f'{", ".join(map(str, files))} (')
        assert 'scores differ from PyTorch by up to ' in last
        assert (' px on 20 pictures' if path is exported.detector else ' on 8 pictures') in last
        assert all(line.endswith(' ...') for line in said.strip().splitlines()[:-1]), said
        content = json.loads(Path(f'{path}.json').read_text())
        assert content['checkpoint_sha256'] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert content['config'] == Path(config).name
        assert {'menet_mm', 'torch', content['runtime']} <= content['versions'].keys()
        given = content['input']
        assert (given['channel_order'], given['layout'], given['dtype']) == ('RGB', 'NCHW', 'float32')
        assert given['mean'] == [123.675, 116.28, 103.53]
        assert given['std'] == [58.395, 57.12, 57.375]
        assert (content['precision'], content['dynamic_batch']) == ('fp32', False)
        side = 224 if path is exported.classifier else 320
        assert given['shape'] == [1, 3, side, side]
        if path is exported.detector:
            assert content['score_threshold'] == 0.02
            assert content['classes'][:2] == ['aeroplane', 'bicycle']
            assert len(content['classes']) == 20
        else:
            assert content['classes'][0] == 'tench, Tinca tinca'
            assert len(content['classes']) == 1000
    assert {path.name for path in exported.classifier.parent.iterdir()} == {
        f'{kind}{ending}'
        for kind in ('classifier', 'detector')
        for ending in (path.suffix, f'{path.suffix}.json', *(['.bin'] if path.suffix != '.onnx' else []))
    }


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.onnx', '.xml'])
def test_batches(menet108, ssd, sample, photographs, tmp_path, ending):
    images = [cv2.imread(str(path)) for path in photographs[:3]]
    blocks = BLOCKS if ending == '.onnx' else [None]
    for config, checkpoint, block in [*((CLASSIFIER, menet108, block) for block in blocks), (DETECTOR, ssd, None)]:
        out = tmp_path / f'{checkpoint.stem}{ending}'
        export(config, str(checkpoint), out, images[:1], dynamic_batch=True, block=block)
        runner = Runner(out)
        assert runner.description['dynamic_batch'] is True
        batch = as_network_gets_it(runner, images)
        together = runner._backend(batch)
        for i in range(3):
            for values, alone in zip(together, runner._backend(batch[i : i + 1]), strict=True):
                assert alone.shape == (1, *values.shape[1:])
                assert np.abs(values[i] - alone[0]).max() <= 1e-5 * np.abs(alone).max()
        results = runner(images)
        assert len(results) == 3
        for image, found in zip(images, results, strict=True):
            (alone,) = runner(image)
            assert found.keys() == alone.keys()
            for key in alone:
                assert found[key] == pytest.approx(alone[key], abs=1e-3)


def test_several_pictures_through_a_model_of_one(exported, photographs):
    runner = Runner(exported.detector, threads=1)
    images = [cv2.imread(str(path)) for path in photographs[:3]]
    for image, found in zip(images, runner(images), strict=True):
        (alone,) = runner([image])
        assert all(np.array_equal(found[key], alone[key]) for key in alone)


@pytest.mark.parametrize('ending', ['.onnx', pytest.param('.xml', marks=SLOW)])
def test_8_bit_keeps_most_answers(export_here, menet108, sample, voc_root, tmp_path, ending):
    """Most stay; with weights of all 8 bits, 37 (ONNX Runtime) and 135 (OpenVINO) of 250 did on a processor without VNNI."""
    folder, out = f'{voc_root}/VOC2007/JPEGImages', tmp_path / f'int8{ending}'
    to = ('--to', dict(zip(ENDINGS.values(), ENDINGS, strict=True))[ending], '--out', out)
    said = export_here(CLASSIFIER, menet108, *to, '--int8', '--calib', folder, '--calib-images', 60)
    assert 'quantizing with 60 pictures ...' in said
    assert float(re.findall(r'differ from PyTorch by up to (\S+) on', said)[0]) > 1e-2  # so it is not fp32
    runner = Runner(out, threads=1)
    assert runner.description['precision'] == 'int8'
    (logits,) = runner.infer(as_network_gets_it(runner, sample.images))
    assert (logits.argmax(1) == sample.logits.argmax(1)).sum() > 175
    assert (logits.argmax(1) == np.array(sample.labels)).sum() > 140
    if ending == '.xml':
        # Whoever lets OpenVINO use all that the processor has is told where that goes wrong.
        code = f'from menet_mm.deploy import Runner; Runner({str(out)!r})'
        environment = {**os.environ, 'ONEDNN_MAX_CPU_ISA': 'ALL'}
        loaded = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
        wrong = 'amx_int8' in Path('/proc/cpuinfo').read_text()
        assert ('with AMX, which it does wrongly in 8 bit' in loaded.stderr) == wrong, loaded.stderr
        assert (loaded.returncode != 0) == wrong
    assert set(path.suffix for path in tmp_path.iterdir()) == {ending, '.json', *(['.bin'] if ending == '.xml' else [])}


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.onnx', '.xml'])
def test_8_bit_keeps_most_objects(ssd, photographs, tmp_path, ending):
    out = tmp_path / f'int8{ending}'
    images = [cv2.imread(str(path)) for path in photographs]
    export(DETECTOR, str(ssd), out, images[:1], int8=True, calibration=images)
    runner = Runner(out, threads=1)
    kept = 0
    for path, image in zip(photographs[: len(LEARNT)], images, strict=False):
        kept += finds_what_is_there(as_dicts(runner(image)[0], runner.classes), path)
    assert kept >= len(LEARNT) - 2


def test_half_precision(exported, sample):
    """Numbers of 8 significant bits, where the processor has them: 244 of the 250 answers stay."""
    if refusal := refusal_of_bf16(exported.runtime):
        with pytest.raises(InputError, match=refusal):
            Runner(exported.classifier, precision='bf16')
        return
    runner = Runner(exported.classifier, threads=1, precision='bf16')
    (logits,) = runner.infer(sample.inputs)
    assert np.abs(logits - sample.logits).max() > 1e-3 * np.abs(sample.logits).max()  # so it is not fp32
    assert (logits.argmax(1) == sample.logits.argmax(1)).sum() > 225


def test_a_checkpoint_of_data_parallel_is_taken(tmp_path):
    """Its names start with ``module.``; this one has something else than a dict for meta, too."""
    _, model = build(CLASSIFIER)
    state = {f'module.{key}': value for key, value in model.state_dict().items()}
    torch.save(dict(state_dict=state, meta='made by hand'), tmp_path / 'x.pth')

    class LoadedError(Exception):
        pass

    def stop(line: str) -> None:
        raise LoadedError

    with pytest.raises(LoadedError):
        export(CLASSIFIER, str(tmp_path / 'x.pth'), tmp_path / 'x.onnx', [np.zeros((9, 9, 3), np.uint8)], progress=stop)
