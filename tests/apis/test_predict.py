"""Pictures of a user through a model that is no more than a function."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from menet_mm.apis.predict import predict_folder
from menet_mm.errors import InputError

CLASSES = ['nut', 'bolt']
NOTHING = dict(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
FOUND = dict(
    boxes=np.array([[1.26, 2, 30, 40], [0, 0, 9, 9]]), scores=np.array([0.81239, 0.2]), labels=np.array([1, 0])
)


def model(found: dict = FOUND, classes: list[str] | None = CLASSES) -> Callable:
    return lambda: (lambda image: found, classes)


@pytest.fixture
def folder(shapes: Path, tmp_path: Path) -> Path:
    """Good, damaged and other files, and one name twice."""
    good = sorted((shapes / 'VOC2007/JPEGImages').iterdir())[:2]
    folder = tmp_path / 'mixed'
    (folder / 'deeper').mkdir(parents=True)
    shutil.copy(good[0], folder)
    shutil.copy(good[1], folder / 'deeper' / good[0].name)
    (folder / 'cut.jpg').write_bytes(good[0].read_bytes()[:900])
    (folder / 'text.png').write_text('no picture')
    (folder / 'notes.txt').write_text('left alone')
    return folder


def test_a_folder_of_good_damaged_and_other_files(folder, tmp_path):
    out, table = tmp_path / 'new/out', tmp_path / 'new/results.json'
    done = predict_folder(model(), [str(folder)], out, table, 0.3, model='x.onnx')
    content = json.loads(table.read_text())
    assert done == dict(content, others=1, seconds=done['seconds'])
    assert content['model'] == 'x.onnx'
    assert content['classes'] == CLASSES
    assert {Path(entry['image']).name for entry in content['skipped']} == {'cut.jpg', 'text.png'}
    assert len(content['results']) == 2
    for entry in content['results']:
        assert entry['detections'] == [{'class': 'bolt', 'label': 1, 'score': 0.8124, 'box': [1.3, 2.0, 30.0, 40.0]}]
        picture = cv2.imread(entry['image'])
        drawing = cv2.imread(str(out / Path(entry['image']).relative_to(folder)))
        assert picture.shape[:2] == (entry['height'], entry['width']) == drawing.shape[:2]
        assert (drawing != picture).any()
    assert len([path for path in out.rglob('*') if path.is_file()]) == 2


def test_the_five_best_classes_of_a_classifier(folder):
    scores = np.array([0.05, 0.4, 0.05, 0.2, 0.1, 0.2])
    done = predict_folder(model(dict(scores=scores), classes=None), [str(folder / 'deeper')])
    assert [(found['label'], found['class']) for found in done['results'][0]['classes']] == [
        (1, '1'), (3, '3'), (5, '5'), (4, '4'), (0, '0')
    ]  # fmt: skip


def test_names_that_no_font_has_are_said_once(folder, tmp_path, capsys):
    no_character = '\u0378'  # Unicode has none here
    done = predict_folder(model(classes=[no_character, 'bolt']), [str(folder)], tmp_path / 'out')
    assert len(done['results']) == 2
    assert capsys.readouterr().err.count(f'no font here has all characters of {no_character}: numbers') == 1
    predict_folder(model(classes=[no_character, 'bolt']), [str(folder)])
    assert 'no font' not in capsys.readouterr().err


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        (dict(score_thr=1.5), '--score-thr must lie in 0..1, but got 1.5'),
        (dict(score_thr=float('nan')), '--score-thr must lie in 0..1, but got nan'),
        (dict(images=['{folder}/none.jpg']), 'no such file, folder or glob: .*/none.jpg'),
        (dict(images=['{folder}/*.gif']), 'no such file, folder or glob: .*\\.gif'),
        (dict(images=['{taken}']), 'no pictures in .*: files ending in .jpg'),
        (dict(out='{folder}'), 'would overwrite the pictures themselves: give another folder'),
        (dict(out='{folder}/notes.txt'), 'notes.txt is a file: give a folder'),
        (dict(table='{folder}'), 'is a folder: give a file'),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(folder, tmp_path, changed, sentence):
    (tmp_path / 'taken').mkdir()
    words = dict(folder=folder, taken=tmp_path / 'taken')
    arguments = dict(images=[str(folder)], out=tmp_path / 'out')
    for key, value in changed.items():
        if key == 'images':
            arguments[key] = [value[0].format(**words)]
        else:
            arguments[key] = Path(value.format(**words)) if isinstance(value, str) else value
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(InputError, match=sentence):
        predict_folder(lambda: pytest.fail('loaded'), **arguments)
    assert sorted(tmp_path.rglob('*')) == before


def test_a_drawing_that_cannot_be_written_is_said(folder, tmp_path):
    picture = next((folder / 'deeper').iterdir())
    (tmp_path / 'out' / picture.name).mkdir(parents=True)  # a folder where the drawing would go
    with pytest.raises(InputError, match=f'{picture.name} cannot be written .*: give another --out'):
        predict_folder(model(NOTHING), [str(picture)], tmp_path / 'out')


def test_a_read_only_folder_is_met_before_the_model(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: path != tmp_path)  # root may write everywhere
    with pytest.raises(InputError, match='is read-only; give another folder'):
        predict_folder(lambda: pytest.fail('loaded'), [str(folder)], tmp_path / 'new/out')


def test_globs_and_files(folder):
    done = predict_folder(model(NOTHING), [f'{folder}/t*_0000[0-2].jpg', str(next((folder / 'deeper').iterdir()))])
    assert [entry['detections'] for entry in done['results']] == [[], []]


def test_torch_is_not_needed():
    code = 'import menet_mm.apis.predict, sys; print({"torch", "mmcv", "matplotlib"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == 'set()\n'
