"""An exported detector: its boxes beside MMDetection's, on real photographs, in the commands, and without torch."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from menet_mm import get_inferencer
from menet_mm.checkpoints import write_checkpoint
from menet_mm.deploy import Runner, export
from menet_mm.deploy.runtimes import RUNTIMES

# Tests in parallel share the checkpoint and the exported models.
pytestmark = pytest.mark.xdist_group('export')

DETECTOR = 'configs/ssd_menet108_voc12.py'
#: ONNX Runtime's files are there in seconds; the others' are made from them, or by a slow converter.
SLOW = pytest.mark.slow
#: Of VOC 2012's val.txt: a dog, a cat, a cow, a rider, a sheep, a cow with a person.
LEARNT = ('2008_000059', '2008_000116', '2008_000905', '2008_001382', '2008_006477', '2008_007586')
LIBRARIES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain')


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
        model.parse_losses(losses)[0].backward()
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


@pytest.fixture(
    scope='module', params=['onnxruntime', pytest.param('openvino', marks=SLOW), pytest.param('ncnn', marks=SLOW)]
)
def exported(request, tool_here, ssd, voc_root, tmp_path_factory) -> SimpleNamespace:
    """The detector as a user exports it, for each runtime."""
    runtime = RUNTIMES[request.param]
    path = tmp_path_factory.mktemp(runtime.name) / f'detector{runtime.suffix}'
    to = ('--to', runtime.format, '--out', path, '--images', f'{voc_root}/VOC2007')
    return SimpleNamespace(runtime=runtime, path=path, said=tool_here('export.py', DETECTOR, ssd, *to))


@pytest.fixture(scope='module')
def by_mmdet(ssd, photographs) -> list:
    """What MMDetection's own inferencer finds."""
    detect = get_inferencer(DETECTOR, ssd)
    return [
        detect(cv2.imread(str(path)), return_datasamples=True)['predictions'][0].pred_instances.numpy()
        for path in photographs
    ]


@pytest.fixture(scope='module')
def by_torch(tool_here, ssd, photographs, tmp_path_factory) -> dict:
    """What tools/infer.py writes with the checkpoint."""
    table = tmp_path_factory.mktemp('torch') / 'results.json'
    tool_here('infer.py', *photographs, '--config', DETECTOR, '--weights', ssd, '--json', table, '--score-thr', 0.1)
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


def test_other_classes_than_the_data_sets_are_said(tool_here, exported, shapes):
    other = ('--cfg-options', f'test_dataloader.dataset.data_root={shapes}/')
    with pytest.raises(SystemExit, match='^error: .*the data set has .*circle'):
        tool_here('test.py', 'configs/ssd_menet228_shapes.py', exported.path, *other)


def test_boxes_are_those_of_mmdets_inferencer(exported, photographs, by_mmdet):
    runner = Runner(exported.path, threads=1)
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


def test_the_command_finds_what_it_found_with_the_checkpoint(tool_here, exported, photographs, by_torch, tmp_path):
    out, table = tmp_path / 'out', tmp_path / 'results.json'
    said = tool_here(
        *('infer.py', *photographs, '--model', exported.path, '--score-thr', 0.1, '--out', out, '--json', table)
    )
    assert f'{len(photographs)} pictures, ' in said
    content = json.loads(table.read_text())
    assert content['model'] == str(exported.path)
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


@pytest.mark.slow
def test_tiles_give_what_they_give_with_the_checkpoint(tool_here, exported, ssd, voc_root, tmp_path):
    found = []
    options = ('test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    options += (f'test_dataloader.dataset.data_root={voc_root}', 'test_dataloader.dataset.indices=3')
    for model in (ssd, exported.path):
        out = tmp_path / f'{model.stem}.pkl'
        words = ('--tile', 240, '--out', out, '--work-dir', tmp_path, '--cfg-options', *options)
        tool_here('test.py', DETECTOR, model, *words)
        found.append([sample['pred_instances'] for sample in torch.load(out, weights_only=True)])
    for one, other in zip(*found, strict=True):
        for score in (0.1, 0.3):
            assert abs((one['scores'] > score).sum() - (other['scores'] > score).sum()) <= 1
        count = int((one['scores'] > 0.3).sum())
        assert torch.allclose(one['scores'][:count], other['scores'][:count], atol=2e-3)


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
detect = Runner({str(exported.path)!r})
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


def test_the_command_needs_no_torch(tool, exported, photographs, without_libraries, tmp_path):
    table = tmp_path / 'results.json'
    arguments = ('infer.py', photographs[0], '--json', table, '--out', tmp_path / 'out')
    tool(*arguments, '--model', exported.path, **without_libraries)
    assert finds_what_is_there(json.loads(table.read_text())['results'][0]['detections'], photographs[0])
    # What does need them fails, so they were really missing.
    tool(*arguments, '--config', DETECTOR, '--weights', 'x.pth', ok=False, **without_libraries)


def test_the_description_has_what_a_caller_needs(exported):
    files = [*exported.runtime.files(exported.path), Path(f'{exported.path}.json')]
    *steps, last = exported.said.strip().splitlines()
    assert last.startswith(f'{", ".join(map(str, files))} (')
    assert re.search(r'scores differ from PyTorch by up to \S+, boxes by \S+ px on 20 pictures', last)
    assert all(line.endswith(' ...') for line in steps)
    content = json.loads(files[-1].read_text())
    assert content['input']['shape'] == [1, 3, 320, 320]
    assert content['nms']['score_threshold'] == 0.02
    assert content['classes'][:2] == ['aeroplane', 'bicycle']
    assert len(content['classes']) == 20
    assert set(exported.path.parent.iterdir()) == set(files)


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.onnx', '.xml'])
def test_batches(ssd, photographs, tmp_path, ending):
    out, images = tmp_path / f'model{ending}', [cv2.imread(str(path)) for path in photographs[:3]]
    export(DETECTOR, str(ssd), out, images[:1], dynamic_batch=True)
    runner = Runner(out)
    batch = np.stack([runner.preprocess(image) for image in images])
    together = runner.infer(batch)
    for i, (image, found) in enumerate(zip(images, runner(images), strict=True)):
        for values, alone in zip(together, runner.infer(batch[i : i + 1]), strict=True):
            assert alone.shape == (1, *values.shape[1:])
            assert np.abs(values[i] - alone[0]).max() <= 1e-5 * np.abs(alone).max()
        (alone,) = runner(image)
        assert found.keys() == alone.keys()
        for key in alone:
            assert found[key] == pytest.approx(alone[key], abs=1e-3)


def test_several_pictures_through_a_model_of_one(exported, photographs):
    runner = Runner(exported.path, threads=1)
    images = [cv2.imread(str(path)) for path in photographs[:3]]
    for image, found in zip(images, runner(images), strict=True):
        (alone,) = runner([image])
        assert all(np.array_equal(found[key], alone[key]) for key in alone)


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
