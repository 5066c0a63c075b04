"""Inference through the command line, with trained weights of both tasks."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from menet_mm.apis import inference
from menet_mm.datasets.shapes import CLASSES

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope='module')
def detector(tmp_path_factory) -> Path:
    """A detector with random weights, whose scores the prior of an untrained head spreads over all classes."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile('configs/ssd_menet228_shapes.py').model)
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'ssd.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), path)
    return path


def test_a_detector_on_a_folder(tool, shapes, detector, tmp_path):
    folder = tmp_path / 'mixed'
    folder.mkdir()
    for path in sorted((shapes / 'VOC2007/JPEGImages').iterdir())[:2]:
        shutil.copy(path, folder)
    (folder / 'cut.jpg').write_bytes(path.read_bytes()[:900])
    (folder / 'notes.txt').write_text('left alone')
    out, table = tmp_path / 'out', tmp_path / 'results.json'
    config = ('--config', 'configs/ssd_menet228_shapes.py', '--weights', detector, '--score-thr', 0.05)
    result = tool('infer.py', folder, *config, '--out', out, '--json', table, ok=False)
    assert result.returncode == 1
    assert 'Traceback' not in result.stdout
    assert f'skipped {folder}/cut.jpg' in result.stdout
    assert '2 pictures, ' in result.stdout
    assert f'1 skipped, 1 other files left alone; drawn in {out}; results in {table}' in result.stdout

    content = json.loads(table.read_text())
    assert content['classes'] == list(CLASSES)
    assert len(content['results']) == len(list(out.iterdir())) == 2
    found = [(found, entry) for entry in content['results'] for found in entry['detections']]
    assert found
    for detection, entry in found:
        assert detection['score'] >= 0.05
        assert detection['class'] == CLASSES[detection['label']]
        x1, y1, x2, y2 = detection['box']
        assert 0 <= x1 <= x2 <= entry['width']
        assert 0 <= y1 <= y2 <= entry['height']


@pytest.fixture
def infer(monkeypatch, shapes, capsys) -> Callable[..., str]:
    """Run tools/infer.py in this process, on a picture and with a detector that finds nothing; returns what it says."""
    nothing = dict(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
    monkeypatch.setattr(inference, 'get_predictor', lambda *_: (lambda image: nothing, list(CLASSES)))

    def call(*arguments: object) -> str:
        picture = shapes / 'VOC2007/JPEGImages/test_00000.jpg'
        monkeypatch.setattr(sys, 'argv', ['infer.py', str(picture), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools/infer.py'), run_name='__main__')
        return ended.value.code or capsys.readouterr().out

    return call


def test_what_is_found_is_printed_without_a_file_to_write_to(infer):
    said = infer('--config', 'x', '--weights', 'x.pth').splitlines()
    assert said[0].endswith('test_00000.jpg: nothing found')
    assert said[1].startswith('1 pictures, 0 objects, ')
    assert said[1].endswith(' ms a picture; 0 skipped')


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--model', 'none.onnx'], 'no model none.onnx: make it with tools/export.py'),
        (['--model', 'x.onnx', '--device', 'cpu'], '--model is an exported model, which needs no --config'),
        (['--weights', 'x.pth'], 'give --config and --weights of a trained model, or --model of an exported one'),
        (['--config', 'x', '--weights', 'x.pth', '--score-thr', '1.5'], '--score-thr must lie in 0..1, but got 1.5'),
    ],
)
def test_what_cannot_be_done_is_said(infer, options, sentence):
    said = infer(*options)
    assert said.startswith('error: ')
    assert sentence in said


@pytest.mark.photographs
@pytest.mark.slow
def test_authors_classifier_names_what_is_in_a_real_picture(tool, shared, tmp_path):
    """The JSON's best class is right for 157 of the sample's 250 pictures, as through tools/test.py."""
    weights, table = tmp_path / 'menet108.safetensors', tmp_path / 'results.json'
    tool('convert_checkpoint.py', shared / 'weights/108-MENet-8x1-group-3.pth.tar', weights)
    sample = shared / 'data/ilsvrc_sample'
    out = tmp_path / 'out'
    arguments = ('--config', 'menet108_in1k', '--weights', weights, '--json', table, '--out', out)
    said = tool('infer.py', sample / 'images', *arguments).stdout
    assert '250 pictures, ' in said
    labels = dict(line.split() for line in (sample / 'val.txt').read_text().splitlines())
    results = json.loads(table.read_text())['results']
    right = [r['classes'][0]['label'] == int(labels[Path(r['image']).name]) for r in results]
    assert sum(right) == 157
    assert results[0]['classes'][0]['class'] == 'tench, Tinca tinca'
    drawn = cv2.imread(str(out / f'{Path(results[0]["image"]).stem}.jpg'))
    assert (drawn != cv2.imread(results[0]['image'])).any()
    scores = [c['score'] for c in results[0]['classes']]
    assert scores == sorted(scores, reverse=True)
    assert 0.9 < sum(scores) < 1.001
