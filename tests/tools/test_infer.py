"""Inference through the command line, with trained weights of both tasks."""

import json
import runpy
import shutil
import sys
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


def test_a_folder_of_good_corrupt_and_other_files(tool, shapes, detector, tmp_path):
    good = sorted((shapes / 'VOC2007/JPEGImages').iterdir())[:3]
    folder = tmp_path / 'mixed'
    (folder / 'deeper').mkdir(parents=True)
    for path in good[:2]:
        shutil.copy(path, folder)
    shutil.copy(good[2], folder / 'deeper' / good[0].name)  # one name twice
    (folder / 'cut.jpg').write_bytes(good[0].read_bytes()[:900])
    (folder / 'text.png').write_text('no picture')
    (folder / 'notes.txt').write_text('left alone')
    out, table = tmp_path / 'out', tmp_path / 'results.json'
    config = ('--config', 'configs/ssd_menet228_shapes.py', '--weights', detector, '--score-thr', 0.05)
    result = tool('infer.py', folder, *config, '--out', out, '--json', table, ok=False)
    assert result.returncode == 1
    assert 'Traceback' not in result.stdout
    assert '3 pictures, ' in result.stdout
    assert '2 skipped, 1 other files left alone' in result.stdout
    assert f'skipped {folder}/cut.jpg' in result.stdout
    assert f'skipped {folder}/text.png' in result.stdout

    content = json.loads(table.read_text())
    assert content['classes'] == list(CLASSES)
    assert {Path(entry['image']).name for entry in content['skipped']} == {'cut.jpg', 'text.png'}
    assert len(content['results']) == 3
    for entry in content['results']:
        picture = cv2.imread(entry['image'])
        drawing = cv2.imread(str(out / Path(entry['image']).relative_to(folder)))
        assert picture.shape[:2] == (entry['height'], entry['width']) == drawing.shape[:2]
        for found in entry['detections']:
            assert found['score'] >= 0.05
            assert found['class'] == CLASSES[found['label']]
            x1, y1, x2, y2 = found['box']
            assert 0 <= x1 <= x2 <= entry['width']
            assert 0 <= y1 <= y2 <= entry['height']
    assert sum(len(entry['detections']) for entry in content['results']) > 0


def test_globs_files_and_a_clean_exit(tool, shapes, detector, tmp_path):
    config = ('--config', 'configs/ssd_menet228_shapes.py', '--weights', detector)
    pattern = f'{shapes}/VOC2007/JPEGImages/test_0000[0-2].jpg'
    picture = shapes / 'VOC2007/JPEGImages/test_00004.jpg'
    said = tool('infer.py', pattern, picture, *config).stdout
    assert '4 pictures, ' in said
    assert f'{picture}: ' in said
    for wrong in (tmp_path / 'none.jpg', f'{tmp_path}/*.jpg'):
        said = tool('infer.py', wrong, *config, ok=False).stdout
        assert said.strip().splitlines()[-1] == f'error: no such file, folder or glob: {wrong}'
    pictures = picture.parent
    said = tool('infer.py', pictures, *config, '--out', pictures, ok=False).stdout
    assert said.strip().splitlines()[-1].endswith('would overwrite the pictures themselves: give another folder')
    said = tool('infer.py', picture, '--config', 'menet999', '--weights', detector, ok=False).stdout
    assert "error: unknown model 'menet999': give a config file or one of" in said


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--score-thr', '1.5'], '--score-thr must lie in 0..1, but got 1.5'),
        (['--score-thr', 'nan'], '--score-thr must lie in 0..1, but got nan'),
        (['--out', '{taken}'], 'test_00000.jpg cannot be written: make room on the disk, or give another --out'),
    ],
)
def test_what_cannot_be_done_is_said(shapes, tmp_path, monkeypatch, options, sentence):
    taken = tmp_path / 'out'
    (taken / 'test_00000.jpg').mkdir(parents=True)  # a folder where the drawing would go
    nothing = dict(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
    monkeypatch.setattr(inference, 'get_predictor', lambda *_: (lambda image: nothing, list(CLASSES)))
    picture = str(shapes / 'VOC2007/JPEGImages/test_00000.jpg')
    words = [word.format(taken=taken) for word in options]
    monkeypatch.setattr(sys, 'argv', ['infer.py', picture, '--config', 'x', '--weights', 'x.pth', *words])
    with pytest.raises(SystemExit, match=sentence):
        runpy.run_path(str(ROOT / 'tools/infer.py'), run_name='__main__')


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


def test_what_an_exported_model_has_no_use_for(tool, tmp_path, shapes):
    picture = next((shapes / 'VOC2007/JPEGImages').iterdir())
    for options, sentence in [
        (['--model', tmp_path / 'none.onnx'], 'none.onnx: make it with tools/export.py'),
        (['--model', 'x.onnx', '--device', 'cpu'], '--model is an exported model, which needs no --config'),
        ([], 'give --config and --weights of a trained model, or --model of an exported one'),
    ]:
        said = tool('infer.py', picture, *options, ok=False).stdout
        assert said.strip().splitlines()[-1].startswith('error: ')
        assert sentence in said
        assert 'Traceback' not in said
