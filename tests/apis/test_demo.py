"""From a file that someone gives to what the page of tools/demo.py shows, without the page."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from torch import nn

from menet_mm.apis import demo, uploads
from menet_mm.apis.demo import Demo, Trained, compare
from menet_mm.apis.predict import describe
from menet_mm.apis.uploads import is_video, read_upload
from menet_mm.checkpoints import write_checkpoint
from menet_mm.datasets.shapes import CLASSES
from menet_mm.errors import InputError

RGB = slice(None, None, -1)  # of the last axis: what the page shows has red first


@pytest.fixture(scope='module')
def detector(tmp_path_factory) -> Demo:
    """A detector with random weights, whose scores vary."""
    cfg = Config.fromfile('configs/ssd_menet228_shapes.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(0)
        model = MODELS.build(cfg.model)
        model.init_weights()
        for layer in model.bbox_head.cls_convs.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.1)
    path = tmp_path_factory.mktemp('weights') / 'ssd.safetensors'
    write_checkpoint(path, model.state_dict(), dict(dataset_meta=dict(classes=CLASSES)))
    return Demo([Trained('configs/ssd_menet228_shapes.py', str(path))])


@pytest.fixture
def upload(shapes, tmp_path) -> Path:
    path = tmp_path / 'good.png'
    cv2.imwrite(str(path), cv2.imread(str(shapes / 'VOC2007/JPEGImages/test_00000.jpg')))
    return path


NAME = 'PyTorch: ssd.safetensors'


def test_a_picture_is_drawn_with_what_the_model_finds(detector, upload):
    image = cv2.imread(str(upload))
    found = detector.models[NAME].predict(image)
    median = float(np.median(found['scores']))
    for threshold in (0.02, median):
        look = detector.look(upload, NAME, threshold)
        expected = describe(found, list(CLASSES), threshold)['detections']
        assert [row[0] for row in look.rows] == [one['class'] for one in expected]
        assert look.drawing.shape == image.shape
    many = len(detector.look(upload, NAME, 0.02).rows)
    assert many > len(look.rows)
    nothing = detector.look(upload, NAME, 1)
    np.testing.assert_array_equal(nothing.drawing, image[..., RGB])
    ((name, *stages, total),) = look.times
    assert name == NAME
    assert all(each > 0 for each in stages)
    assert total == pytest.approx(sum(stages), abs=0.2)


def test_a_picture_is_turned_as_exif_says_and_large_ones_are_shown_smaller(detector, upload, tmp_path):
    upright = Image.open(upload).resize((2000, 1000))
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter to the right
    upright.rotate(90, expand=True).save(tmp_path / 'turned.jpg', exif=exif, quality=98)
    image = read_upload(tmp_path / 'turned.jpg')
    assert image.shape == (1000, 2000, 3)
    assert np.abs(image[..., RGB].astype(int) - np.asarray(upright)).mean() < 5
    assert detector.look(tmp_path / 'turned.jpg', NAME, 1).drawing.shape == (800, 1600, 3)


def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(detector, upload, monkeypatch):
    folder = upload.parent
    whole = upload.read_bytes()
    (folder / 'cut.png').write_bytes(whole[: len(whole) // 2])
    (folder / 'text.png').write_text('no picture')
    (folder / 'script.eps').write_text('%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n')
    (folder / 'empty.jpg').touch()
    for name, sentence in [
        ('cut.png', 'cut.png is damaged (.*): give another file'),
        ('text.png', 'text.png is neither a picture .* nor a video: give another file'),
        ('script.eps', 'script.eps is neither a picture .* nor a video: give another file'),
        ('empty.jpg', 'empty.jpg is neither a picture .* nor a video: give another file'),
        ('gone.jpg', 'the upload is not there any more: give it again'),
    ]:
        for ask in (lambda path: detector.look(path, NAME, 0.3), lambda path: detector.gates(path, 0.3)):
            with pytest.raises(InputError, match=sentence):
                ask(folder / name)
    with pytest.raises(InputError, match='no model other.onnx: choose one of PyTorch: ssd.safetensors'):
        detector.look(upload, 'other.onnx', 0.3)
    with pytest.raises(InputError, match='--score-thr must lie in 0..1'):
        detector.look(upload, NAME, 2)


def test_what_is_too_large_is_not_decoded(upload, monkeypatch):
    monkeypatch.setattr(uploads, 'read_image', lambda path: pytest.fail('decoded'))
    for side in (9_000, 20_000):  # the latter is too much for Pillow, too
        Image.new('1', (side, side)).save(upload)
        with pytest.raises(InputError, match='good.png has more than 67 million pixels'):
            read_upload(upload)
    monkeypatch.setattr(uploads, 'MOST_BYTES', 1000)
    with pytest.raises(InputError, match='good.png has .* MB, but the page takes'):
        read_upload(upload)


def write_video(path: Path, frames: int) -> None:
    codec = dict(avi='MJPG', mp4='mp4v', webm='VP80')[path.suffix[1:]]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 10, (160, 120))
    for i in range(frames):
        writer.write(np.random.default_rng(i).integers(0, 255, (120, 160, 3), np.uint8))
    writer.release()


def test_a_long_video_is_drawn_in_part_in_a_form_that_browsers_play(detector, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, 'MOST_FRAMES', 4)
    write_video(tmp_path / 'video.mp4', 12)
    said = detector.video(tmp_path / 'video.mp4', NAME, 0.05, tmp_path / 'drawn.webm')
    assert said.startswith('4 frames, one of 3, ')
    capture = cv2.VideoCapture(str(tmp_path / 'drawn.webm'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert capture.read()[1].shape == (120, 160, 3)
    monkeypatch.setattr(demo, 'FRAME_PIXELS', 100)
    with pytest.raises(InputError, match='video.mp4 has frames of 160 x 120, but the page takes'):
        detector.video(tmp_path / 'video.mp4', NAME, 0.05, tmp_path / 'drawn.webm')


def test_a_video_is_known_by_its_content(upload, tmp_path):
    for name in ('video.avi', 'video.mp4', 'video.webm'):
        write_video(tmp_path / name, 2)
        assert is_video((tmp_path / name).rename(tmp_path / 'unnamed')), name
    # A list of other files to play, which FFmpeg would open.
    (tmp_path / 'list.mp4').write_text(f'#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.mp4\n')
    (tmp_path / 'still.mp4').write_bytes(b'\0\0\0\x18ftypavif' + bytes(20))
    for name in ('list.mp4', 'still.mp4', upload.name):
        assert not is_video(tmp_path / name), name


def test_gates_and_what_is_found_without_them(detector, upload):
    image = cv2.imread(str(upload))
    look = detector.gates(upload, 0.05)
    assert [caption.split(':')[0] for _, caption in look.stages] == ['stage 1', 'stage 2', 'stage 3']
    assert [caption.split(':')[0] for _, caption in look.units][::15] == ['stage 1, unit 1', 'stage 3, unit 4']
    assert {drawing.shape for drawing, _ in look.stages + look.units + look.switched} == {image.shape}
    names = ['learnt', 'means', 'off']
    assert [caption.split(':')[0] for _, caption in look.switched] == names
    expected = detector.look(upload, NAME, 0.05)
    np.testing.assert_array_equal(look.switched[0][0], expected.drawing)
    assert (look.switched[2][0] != expected.drawing).any()
    assert len(look.rows) > len(expected.rows)
    same = look.rows[: len(expected.rows)]
    assert [row[0] for row in same] == [row[0] for row in expected.rows]
    assert [row[1] for row in same] == pytest.approx([row[1] for row in expected.rows], abs=2e-3)
    np.testing.assert_array_equal(detector.look(upload, NAME, 0.05).drawing, expected.drawing)  # the gates are back


def test_results_are_compared_object_by_object():
    def result(*rows: tuple) -> dict[str, np.ndarray]:
        boxes, scores, labels = zip(*rows, strict=True)
        return dict(boxes=np.array(boxes, np.float32), scores=np.array(scores), labels=np.array(labels))

    nut, bolt = (0, 0, 10, 10), (50, 50, 90, 90)
    found = dict(
        on=result((nut, 0.9, 0), (bolt, 0.8, 1)),
        off=result(((1, 0, 10, 10), 0.2, 0), (nut, 0.7, 1), (bolt, 0.1, 0)),
    )
    rows = [['nut', 0.9, 0.2], ['bolt', 0.8, None], ['bolt', None, 0.7]]
    assert compare(found, ['nut', 'bolt'], 0.3) == rows
    classified = dict(on=dict(scores=np.array([0.1, 0.7, 0.2])), off=dict(scores=np.array([0.5, 0.3, 0.2])))
    rows = [['b', 0.7, 0.3], ['c', 0.2, 0.2], ['a', 0.1, 0.5]]
    assert compare(classified, ['a', 'b', 'c'], 0.3) == rows
