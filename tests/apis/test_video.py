"""Videos through a model that is no more than a function."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from menet_mm.apis.video import is_video, predict_video
from menet_mm.errors import InputError

CLASSES = ['nut', 'bolt']
WIDTH, HEIGHT = 100, 74


def brightness(image: np.ndarray) -> dict[str, np.ndarray]:
    """A detector whose score tells which frame it saw."""
    score = np.array([image[60:, :40].mean() / 255])
    return dict(boxes=np.float32([[50, 10, 90, 50]]), scores=score, labels=np.array([1]))


def load() -> tuple[Callable, list[str]]:
    return brightness, CLASSES


def write(path: Path, count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A video of grey frames, each brighter than the one before."""
    codec = cv2.VideoWriter_fourcc(*('MJPG' if path.suffix == '.avi' else 'mp4v'))
    writer = cv2.VideoWriter(str(path), codec, 20, size)
    for i in range(count):
        writer.write(np.full((*size[::-1], 3), 90 + 4 * i, np.uint8))
    writer.release()
    return path


def read(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (one := capture.read())[0]:
        frames.append(one[1])
    return frames


@pytest.mark.parametrize('suffix', ['.mp4', '.avi'])
def test_every_frame_is_drawn_and_described(tmp_path, suffix):
    source = write(tmp_path / f'video{suffix}', 30)
    out, table = tmp_path / f'new/drawn{suffix}', tmp_path / 'new/frames.jsonl'
    done = predict_video(load, str(source), out, table)
    entries = [json.loads(line) for line in table.read_text().splitlines()]
    assert [entry['frame'] for entry in entries] == list(range(30))
    assert (done['frames'], done['objects'], done['read'], done['dropped'], done['cut_off']) == (30, 30, 30, 0, False)
    assert entries[7]['seconds'] == pytest.approx(7 / 20)
    assert (entries[0]['width'], entries[0]['height']) == (WIDTH, HEIGHT)
    (found,) = entries[7]['detections']
    assert {**found, 'score': 0} == {'class': 'bolt', 'label': 1, 'score': 0, 'box': [50, 10, 90, 50]}
    scores = [entry['detections'][0]['score'] for entry in entries]
    assert np.abs(np.array(scores) - (90 + 4 * np.arange(30)) / 255).max() < 0.03
    drawn, plain = read(out), read(source)
    assert len(drawn) == 30
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == 20
    for drawing, frame in zip(drawn, plain, strict=True):
        difference = np.abs(drawing.astype(int) - frame).max(2)
        assert difference[30, 50] > 40  # the box
        assert difference[66:, :30].max() < 25  # and all else as it was
    assert sorted(path.name for path in out.parent.iterdir()) == sorted([out.name, table.name])


def test_every_nth_frame_keeps_the_time(tmp_path):
    source, out, table = write(tmp_path / 'video.mp4', 10), tmp_path / 'drawn.mp4', tmp_path / 'frames.jsonl'
    done = predict_video(load, str(source), out, table, every=4)
    assert [json.loads(line)['frame'] for line in table.read_text().splitlines()] == [0, 4, 8]
    assert (done['frames'], done['cut_off']) == (3, False)
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == pytest.approx(5)
    assert len(read(out)) == 3


def test_lines_are_printed_without_a_file_to_write_to(tmp_path, capsys):
    predict_video(lambda: (lambda image: dict(scores=np.array([0.2, 0.8])), CLASSES), str(write(tmp_path / 'v.mp4', 3)))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line['classes'][0]['class'] for line in lines] == ['bolt'] * 3


def test_a_video_that_is_cut_off_gives_what_there_is(tmp_path):
    whole = write(tmp_path / 'whole.avi', 40)
    source = tmp_path / 'cut.avi'
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    out, table = tmp_path / 'drawn.mp4', tmp_path / 'frames.jsonl'
    done = predict_video(load, str(source), out, table)
    assert done['cut_off']
    assert 5 < done['frames'] < 30
    assert done['count'] == 40
    assert len(read(out)) == len(table.read_text().splitlines()) == done['frames']


@pytest.mark.parametrize(
    ('changed', 'sentence'),
    [
        (dict(source='{tmp}/none.mp4'), 'no such video: .*none.mp4'),
        (dict(source='{tmp}/empty.mp4'), 'empty.mp4 cannot be read as a video: it is empty, damaged'),
        (dict(source='{tmp}/text.mkv'), 'text.mkv cannot be read as a video: it is empty, damaged'),
        (dict(source='{tmp}/head.mp4'), 'head.mp4 cannot be read as a video: it is empty, damaged'),
        (dict(source='63'), 'no camera 63 here that can be opened'),
        (
            dict(source='http://me:secret@127.0.0.1:9/x.mjpg'),
            '^http://127.0.0.1:9/x.mjpg is no stream that can be read',
        ),
        (dict(every=0), '--every must be at least 1, but got 0'),
        (dict(score_thr=2), '--score-thr must lie in 0..1, but got 2'),
        (dict(out='{tmp}/folder'), 'must be a file for the drawn video, ending in .mp4 or .avi'),
        (dict(out='{tmp}/video.mp4'), 'would overwrite the video itself'),
        (dict(table='{tmp}/folder'), 'is a folder: give a file'),
    ],
)
def test_what_cannot_be_done_is_said_before_the_model_is_loaded(tmp_path, changed, sentence):
    video = write(tmp_path / 'video.mp4', 3)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'empty.mp4').touch()
    (tmp_path / 'text.mkv').write_text('no video')
    (tmp_path / 'head.mp4').write_bytes(video.read_bytes()[:900])
    arguments = dict(source='{tmp}/video.mp4', out='{tmp}/out.mp4', table='{tmp}/out.jsonl') | changed
    arguments = {k: v.format(tmp=tmp_path) if isinstance(v, str) else v for k, v in arguments.items()}
    arguments |= {key: Path(arguments[key]) for key in ('out', 'table')}
    before = {path: path.stat().st_size for path in tmp_path.rglob('*')}
    with pytest.raises(InputError, match=sentence):
        predict_video(lambda: pytest.fail('loaded'), **arguments)
    assert {path: path.stat().st_size for path in tmp_path.rglob('*')} == before


def test_nothing_is_left_of_a_run_that_fails(tmp_path):
    source, calls = write(tmp_path / 'video.mp4', 30), []

    def broken(image: np.ndarray) -> dict:
        calls.append(1)
        if len(calls) == 20:
            raise InputError('the model broke')
        return brightness(image)

    with pytest.raises(InputError, match='the model broke'):
        predict_video(lambda: (broken, CLASSES), str(source), tmp_path / 'out/a.mp4', tmp_path / 'out/a.jsonl')
    assert list((tmp_path / 'out').iterdir()) == []


INTERRUPTED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_video import brightness, CLASSES
from menet_mm.apis.video import predict_video

def slow(image):
    print('frame', flush=True)
    time.sleep(0.05)
    return brightness(image)

done = predict_video(lambda: (slow, CLASSES), *sys.argv[1:2], *map(Path, sys.argv[2:]))
print('done', done['frames'], done['cut_off'])
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_the_files(tmp_path, number):
    source, out, table = write(tmp_path / 'video.mp4', 40), tmp_path / 'drawn.mp4', tmp_path / 'frames.jsonl'
    script = tmp_path / 'script.py'
    script.write_text(INTERRUPTED.format(tests=str(Path(__file__).parent)))
    process = subprocess.Popen([sys.executable, script, source, out, table], stdout=subprocess.PIPE, text=True)
    seen = 0
    while seen < 5:
        line = process.stdout.readline()
        assert line, 'it has ended by itself'
        seen += 'frame' in line
    os.kill(process.pid, number)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    frames = int(said.split('done ')[1].split()[0])
    assert said.split()[-1] == 'False'  # the user ended it
    assert 5 <= frames < 40
    assert len(read(out)) == len(table.read_text().splitlines()) == frames


def test_of_a_stream_frames_are_dropped_that_the_model_has_no_time_for(tmp_path):
    """An MJPEG stream as a network camera sends it, of 60 frames in one second, to a model that takes 0.1 s."""

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
            self.end_headers()
            for i in range(60):
                picture = cv2.imencode('.jpg', np.full((HEIGHT, WIDTH, 3), 4 * i, np.uint8))[1].tobytes()
                self.wfile.write(b'--frame\r\nContent-Type: image/jpeg\r\n')
                self.wfile.write(b'Content-Length: %d\r\n\r\n%s\r\n' % (len(picture), picture))
                time.sleep(1 / 60)

        def log_message(self, *_: object) -> None:
            pass

    def slow(image: np.ndarray) -> dict:
        time.sleep(0.1)
        return brightness(image)

    server = ThreadingHTTPServer(('127.0.0.1', 0), Camera)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    out, table = tmp_path / 'drawn.mp4', tmp_path / 'frames.jsonl'
    try:
        done = predict_video(lambda: (slow, CLASSES), f'http://127.0.0.1:{server.server_port}/x.mjpg', out, table)
    finally:
        server.shutdown()
        server.server_close()
    entries = [json.loads(line) for line in table.read_text().splitlines()]
    assert done['cut_off']  # a camera does not end
    assert done['dropped'] > 10
    assert done['frames'] == len(entries)
    assert done['frames'] + done['dropped'] <= 60
    scores = [entry['detections'][0]['score'] for entry in entries if entry['detections']]
    assert scores == sorted(scores)
    assert len(read(out)) == entries[-1]['frame'] + 1  # so that the drawn video is as long


@pytest.mark.parametrize(
    ('word', 'answer'),
    [
        *((word, True) for word in ('x.mp4', 'X.MOV', '0', 'rtsp://host/1', 'HTTP://host/')),
        *((word, False) for word in ('x.jpg', 'photos', 'photos/*.png', '-1')),
    ],
)
def test_what_is_taken_for_a_video(word, answer):
    assert is_video(word) == answer


def test_a_folder_or_file_may_have_a_number_for_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('0').mkdir()
    assert not is_video('0')


def test_torch_is_not_needed():
    code = 'import menet_mm.apis.video, sys; print({"torch", "mmcv", "matplotlib"} & set(sys.modules))'
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == 'set()\n'
