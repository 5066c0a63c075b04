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


@pytest.fixture
def video(tmp_path) -> Path:
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (160, 120))
    for i in range(12):
        writer.write(np.full((120, 160, 3), 20 * i, np.uint8))
    writer.release()
    return path


@pytest.fixture
def blocks(monkeypatch) -> list[tuple[int, ...]]:
    """In the place of a detector: it finds an object in the middle of each picture, whose shapes are returned."""
    seen = []

    def detect(image: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(image.shape)
        centre = np.float32(image.shape[1::-1] * 2) / 2
        return dict(boxes=(centre + np.float32([-9, -9, 9, 9]))[None], scores=np.array([0.9]), labels=np.array([0]))

    monkeypatch.setattr(inference, 'get_predictor', lambda *_: (detect, list(CLASSES)))
    return seen


TRAINED = ('--config', 'x', '--weights', 'x.pth')


def test_a_video_and_a_part_of_it(tool_here, video, blocks, tmp_path):
    out, table = tmp_path / 'out/drawn.mp4', tmp_path / 'out/frames.jsonl'
    said = tool_here('infer.py', video, *TRAINED, '--out', out, '--json', table, '--every', 2)
    assert '6 frames, 6 objects, ' in said
    assert f'drawn in {out}; results in {table}' in said
    assert len(table.read_text().splitlines()) == cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FRAME_COUNT) == 6
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(SystemExit, match=r'video.avi should have 12 frames, but ended after \d+: it is damaged'):
        tool_here('infer.py', video, *TRAINED, '--json', table)
    assert 0 < len(table.read_text().splitlines()) < 12


def test_tiles_of_pictures_and_videos(tool_here, video, blocks, shapes, tmp_path):
    picture, table = shapes / 'VOC2007/JPEGImages/test_00000.jpg', tmp_path / 'results.json'
    tool_here('infer.py', picture, *TRAINED, '--json', table, '--tile', 80, '--overlap', 0.25)
    (entry,) = json.loads(table.read_text())['results']
    tiles = len(blocks) - 1
    assert tiles > 1
    assert set(blocks[1:]) == {(80, 80, 3)}
    assert len(entry['detections']) == tiles  # the one of the whole picture is small, and so a tile's
    blocks.clear()
    said = tool_here('infer.py', video, *TRAINED, '--json', table, '--tile', 120)
    assert '12 frames, 24 objects, ' in said
    assert set(blocks) == {(120, 160, 3), (120, 120, 3)}


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['{video}', '{video}'], 'a video, camera or stream must be given alone'),
        (['{picture}', '--every', '2'], '--every is of videos: leave it out'),
        (['{picture}', '--overlap', '0.5'], '--overlap is of tiles: give --tile, too'),
        (['{picture}', '--tile', '-1'], '--tile must be at least 32 pixels, but got -1'),
        (['{video}', '--out', 'folder'], 'must be a file for the drawn video, ending in .mp4 or .avi'),
    ],
)
def test_what_cannot_be_done_with_videos_and_tiles_is_said(tool_here, video, blocks, shapes, words, sentence):
    given = dict(video=video, picture=shapes / 'VOC2007/JPEGImages/test_00000.jpg')
    with pytest.raises(SystemExit, match=f'^error: .*{sentence}'):
        tool_here('infer.py', *TRAINED, *(word.format(**given) for word in words))
    assert not blocks


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
