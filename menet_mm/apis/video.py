"""Results of a model for a video, a camera or a stream: a drawn video, a line of JSON a frame; works without torch."""

import json
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import Empty, Full, Queue
from typing import TextIO

import cv2
import numpy as np
from rich.progress import track

from menet_mm.errors import InputError
from menet_mm.utils.files import atomic_path
from menet_mm.utils.pictures import draw_result

from .predict import check_arguments, check_fonts, describe

SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg', '.wmv', '.flv', '.ts')
STREAMS = ('rtsp://', 'rtsps://', 'rtmp://', 'http://', 'https://', 'udp://', 'tcp://')
CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG', '.webm': 'VP80'}  # of a drawn video, by its ending
AHEAD = 4  # frames that wait for the model, and drawings that wait for the encoder
USUAL_FPS = 25.0  # where a source does not say, or not sensibly, how fast it is
MOST_PIXELS = 2**26  # of a frame; more is a damaged header


def is_video(source: str) -> bool:
    """Tell whether a word of the command line is a video: a file by its ending, a camera's number, a stream's address."""
    number = source.isdecimal() and not Path(source).exists()
    return number or source.lower().startswith(STREAMS) or source.lower().endswith(SUFFIXES)


def without_password(source: str) -> str:
    """Return a stream's address as it may be shown."""
    return re.sub('//[^/@]*@', '//', source)


class Video:
    """Frames of a video, a camera or a stream, read ahead by a thread so that decoding and a model overlap.

    ``source`` is as for :func:`is_video`; of ``every`` frames the first is taken. ``fps`` are the source's frames a second,
    ``count`` is how many frames a file says that it has, or None. Of a ``live`` source frames are ``dropped`` for which the
    model has no time. Iterate once: ``(number, frame)``, where a frame is (H, W, 3), 8 bit, blue first, and numbers begin at
    0; after the end ``read`` is how many frames there were. Raises ``InputError`` if there is no frame.
    """

    def __init__(self, source: str, every: int = 1) -> None:
        self.every, self.read, self.dropped, self._ended = every, 0, 0, False
        self._capture = _open(source)
        found, self._first = self._capture.read()
        if not found:
            self._capture.release()
            raise InputError(f'{without_password(source)} has no frame that can be read: it is empty or damaged')
        fps, count = (self._capture.get(what) for what in (cv2.CAP_PROP_FPS, cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if 1 <= fps <= 1000 else USUAL_FPS
        self.count = int(count) if 1 <= count < 2**31 else None
        self.live = self.count is None and not Path(source).exists()
        self._queue: Queue = Queue(AHEAD)
        self._stopped = threading.Event()

    @property
    def cut_off(self) -> bool:
        """Whether it ended too early: a file with less than 95 % of its frames (some say only about how many), a live source."""
        return self._ended and (self.live or self.read < 0.95 * (self.count or 0) - 1)

    def stop(self) -> None:
        """Let the iteration end after the frame that it is at; may be called at any time."""
        self._stopped.set()

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        # A daemon, since a camera or a server that hangs would keep the process alive.
        threading.Thread(target=self._read_ahead, daemon=True).start()
        try:
            while not self._stopped.is_set():
                try:
                    item = self._queue.get(timeout=0.2)
                except Empty:
                    continue
                if item is None:
                    self._ended = True
                    return
                yield item
        finally:
            self.stop()

    def _read_ahead(self) -> None:
        frame = self._first
        try:
            while frame is not None and not self._stopped.is_set():
                self._put((self.read, frame))
                for _ in range(self.every):
                    self.read += 1
                    if not self._capture.grab():
                        return
                _, frame = self._capture.retrieve()
        except cv2.error:  # a damaged frame: the end of what can be read
            pass
        finally:
            self._capture.release()
            self._put(None)

    def _put(self, item: tuple[int, np.ndarray] | None) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0 if self.live else 0.2)
                break
            except Full:
                if self.live:  # the newest frames are what matters
                    with suppress(Empty):  # the model took one just now
                        self._queue.get_nowait()
                        self.dropped += 1


def _open(source: str) -> cv2.VideoCapture:
    camera = int(source) if source.isdecimal() and not Path(source).exists() else None
    if camera is None and '://' not in source and not Path(source).is_file():
        raise InputError(f'no such video: {source}')
    cv2.setLogLevel(0)  # what fails is said in a sentence
    capture = cv2.VideoCapture(source if camera is None else camera)
    pixels = capture.get(cv2.CAP_PROP_FRAME_WIDTH) * capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if capture.isOpened() and pixels <= MOST_PIXELS:
        return capture
    capture.release()
    if camera is not None:
        raise InputError(
            f'no camera {camera} here that can be opened: give the number of one that is connected and free'
        )
    if '://' in source:
        shown = without_password(source)
        raise InputError(f'{shown} is no stream that can be read now: look at the address, and try it in a player')
    raise InputError(
        f'{source} cannot be read as a video: it is empty, damaged, or of a kind that OpenCV does not know'
    )


class _DrawnVideo:
    """A video file that a thread encodes, so that drawing, encoding and the model overlap."""

    def __init__(self, path: Path, name: Path, fps: float) -> None:
        self._path, self._name, self._fps, self._writer, self._written = path, name, fps, None, 0
        self._pool, self._waiting = ThreadPoolExecutor(1), deque[Future]()

    def add(self, frame: np.ndarray, entry: dict, place: int) -> None:
        """Draw an entry on a frame, and write it until the video has ``place`` frames: also in the stead of dropped ones."""
        if len(self._waiting) == AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._write, frame, entry, place))

    def _write(self, frame: np.ndarray, entry: dict, place: int) -> None:
        drawing = draw_result(frame, entry)
        if self._writer is None:
            self._size = drawing.shape[1::-1]
            codec = cv2.VideoWriter_fourcc(*CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, self._size)
            if not self._writer.isOpened():
                raise InputError(
                    f'{self._name} cannot be written: this OpenCV has no encoder for it; try another ending'
                )
        if drawing.shape[1::-1] != self._size:  # a stream may change it; the writer would leave the frame out
            drawing = cv2.resize(drawing, self._size, interpolation=cv2.INTER_AREA)
        while self._written < place:
            self._writer.write(drawing)
            self._written += 1

    def finish(self) -> None:
        """Write the rest. Raises ``InputError`` if the file does not hold all frames; OpenCV's writer does not say so."""
        for future in self._waiting:
            future.result()
        if self._writer:
            self._writer.release()
            capture = cv2.VideoCapture(str(self._path))
            if capture.get(cv2.CAP_PROP_FRAME_COUNT) != self._written:
                raise InputError(f'{self._name} cannot be written: make room, or give another --out')

    def close(self) -> None:
        """Let go of thread and file."""
        self._pool.shutdown(cancel_futures=True)
        if self._writer:
            self._writer.release()


def predict_video(
    load: Callable[[], tuple[Callable[[np.ndarray], dict], list[str] | None]],
    source: str,
    out: Path | None = None,
    table: Path | None = None,
    score_thr: float = 0.3,
    every: int = 1,
) -> dict:
    """Run a model over the frames of a :class:`Video`, of ``every`` frames the first; Ctrl-C ends it and keeps what is done.

    ``load`` is as for :func:`menet_mm.apis.predict.predict_folder`. ``out`` is a file for the drawn video, ``table`` one for
    lines of JSON, which are printed if there is neither. Both appear complete, at the end, or not at all. Returns ``frames`` and
    ``objects``, counts, ``seconds`` of the whole, ``model_seconds``, and of the video ``read``, ``count``, ``dropped`` and ``cut_off``.
    Raises ``InputError`` if an argument or the video cannot be used.
    """
    check_arguments(score_thr, table)
    if every < 1:
        raise InputError(f'--every must be at least 1, but got {every}')
    if out and (out.suffix.lower() not in CODECS or out.is_dir()):
        raise InputError(f'--out {out} must be a file for the drawn video, ending in {" or ".join(CODECS)}')
    if out and out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f'--out {out} would overwrite the video itself: give another file')
    video = Video(source, every)
    predict, classes = load()
    if out:
        check_fonts(classes)
    with ExitStack() as stack:
        lines = drawn = None
        if table:
            lines = stack.enter_context(stack.enter_context(atomic_path(table)).open('w', encoding='utf-8'))
        if out:
            drawn = _DrawnVideo(stack.enter_context(atomic_path(out)), out, video.fps / every)
            stack.callback(drawn.close)
        stack.enter_context(_interrupts(video.stop))
        begun = time.perf_counter()
        done = _run(video, predict, lines, drawn, lambda found: describe(found, classes, score_thr))
        if drawn:
            drawn.finish()
        done['seconds'] = time.perf_counter() - begun
    return dict(done, read=video.read, count=video.count, dropped=video.dropped, cut_off=video.cut_off)


def _run(video: Video, predict: Callable, lines: TextIO | None, drawn: _DrawnVideo | None, entry_of: Callable) -> dict:
    frames, objects, seconds = 0, 0, 0.0
    known = -(-video.count // video.every) if video.count else None
    for number, frame in track(video, 'Frames', known, disable=not (lines or drawn)):
        start = time.perf_counter()
        found = predict(frame)
        seconds += time.perf_counter() - start
        height, width = frame.shape[:2]
        place = dict(frame=number, seconds=round(number / video.fps, 3), width=width, height=height)
        entry = dict(place, **entry_of(found))
        frames, objects = frames + 1, objects + len(entry.get('detections', ()))
        if drawn:
            drawn.add(frame, entry, number // video.every + 1)
        if lines or not drawn:
            print(json.dumps(entry), file=lines, flush=not lines)
    return dict(frames=frames, objects=objects, model_seconds=seconds)


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second one ends the process as usual. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def once(number: int, _: object) -> None:
        stop()
        signal.signal(number, usual[number])

    try:
        for number in usual:
            signal.signal(number, once)
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
