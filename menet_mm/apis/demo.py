"""What the page of ``tools/demo.py`` shows: uploads become drawings, tables and times. Nothing here needs gradio."""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.ops import box_iou

from menet_mm.deploy import Runner
from menet_mm.errors import InputError
from menet_mm.utils.pictures import draw_result, shrink

from .gates import SWITCHES, draw_map, find_gates, gate_maps, mean_of_stages, switch_gates
from .inference import as_predictor, load_inferencer
from .predict import check_arguments, check_fonts, describe
from .uploads import check_upload, read_upload
from .video import Video, predict_video

FRAME_PIXELS = 2**23  # of a frame of a video
MOST_FRAMES = 300  # of a video that a model looks at
SHOWN = 1600  # pixels of the longer side of what the page shows


class Timed(NamedTuple):
    """What a model finds, as ``Runner`` gives it, and the seconds of its preparing, its network and its decoding."""

    found: dict[str, np.ndarray]
    prepare: float
    network: float
    decode: float


class Trained:
    """A checkpoint in PyTorch as a function of a picture (H, W, 3), 8 bit, blue first; errors are those of ``get_inferencer``."""

    def __init__(self, config: str, checkpoint: str, device: str | None = None, trust_checkpoint: bool = False) -> None:
        inferencer = load_inferencer(config, checkpoint, device, trust_checkpoint)
        self.name, self.model = f'PyTorch: {Path(checkpoint).name}', inferencer.model
        self.predict, self.classes = as_predictor(inferencer)

    def __call__(self, image: np.ndarray) -> Timed:
        ends = {}

        def note(stage: str) -> None:
            if next(self.model.parameters()).is_cuda:
                torch.cuda.synchronize()
            ends[stage] = time.perf_counter()

        with ExitStack() as stack:
            hook = self.model.data_preprocessor.register_forward_hook(lambda *_: note('prepare'))
            stack.callback(hook.remove)
            # The network ends with the last head; what follows makes boxes or shares of its outputs.
            for name, module in self.model.named_modules():
                if name.rpartition('.')[2] in ('head', 'bbox_head'):
                    stack.callback(module.register_forward_hook(lambda *_: note('network')).remove)
            begun = time.perf_counter()
            found = self.predict(image)
            end = time.perf_counter()
        return Timed(found, ends['prepare'] - begun, ends['network'] - ends['prepare'], end - ends['network'])


class Exported:
    """An exported model as a function of a picture (H, W, 3), 8 bit, blue first; errors are those of ``Runner``."""

    def __init__(self, path: str | Path) -> None:
        self._runner = Runner(path)
        self.name, self.classes = Path(path).name, self._runner.classes or None

    def __call__(self, image: np.ndarray) -> Timed:
        begun = time.perf_counter()
        batch = self._runner.preprocess(image)[None]
        prepared = time.perf_counter()
        outputs = self._runner.infer(batch)
        ended = time.perf_counter()
        (found,) = self._runner.postprocess(outputs, [image.shape[:2]])
        return Timed(found, prepared - begun, ended - prepared, time.perf_counter() - ended)


def shown(image: np.ndarray) -> np.ndarray:
    """Make a picture (H, W, 3), blue first, one for the page: at most :data:`SHOWN` pixels long, red first."""
    return np.ascontiguousarray(shrink(image, SHOWN)[..., ::-1])


@dataclass(frozen=True)
class Look:
    """What a model finds in a picture: a drawing for the page; rows of class, score and box; of each model name and ms."""

    drawing: np.ndarray
    rows: list[list]
    times: list[list]


@dataclass(frozen=True)
class GateLook:
    """Drawings with captions of the gates and of what is found with and without them, and rows of class and scores."""

    stages: list[tuple[np.ndarray, str]]
    units: list[tuple[np.ndarray, str]]
    switched: list[tuple[np.ndarray, str]]
    rows: list[list]


class Demo:
    """A trained model, and exported ones beside it, as the page asks them; one request at a time."""

    def __init__(self, models: Sequence[Trained | Exported]) -> None:
        self.models = {model.name: model for model in models}
        if len(self.models) < len(models):
            raise InputError('two models have the same name: give each exported file once, under a name of its own')
        self._trained, self._lock = models[0], threading.Lock()
        self.has_gates = bool(find_gates(self._trained.model))
        check_fonts(self._trained.classes)
        for model in models:  # the first picture takes longer, which would be shown as its time
            model(np.full((240, 320, 3), 128, np.uint8))

    def _model(self, name: str) -> Trained | Exported:
        if name not in self.models:
            raise InputError(f'no model {name}: choose one of {", ".join(self.models)}')
        return self.models[name]

    def look(self, path: Path, name: str, score_thr: float) -> Look:
        """Run all models over a picture, and draw what the one of this name finds. Raises ``InputError``."""
        check_arguments(score_thr, None)
        chosen, times = self._model(name), []
        begun = time.perf_counter()
        image = read_upload(path)
        read = time.perf_counter() - begun
        with self._lock:
            for model in self.models.values():
                found, prepare, network, decode = model(image)
                begun = time.perf_counter()
                entry = describe(found, model.classes, score_thr)
                drawn = draw_result(image, entry)
                draw = time.perf_counter() - begun
                stages = [read + prepare, network, decode + draw]
                times.append([model.name, *(round(1000 * seconds, 1) for seconds in (*stages, sum(stages)))])
                if model is chosen:
                    drawing, rows = drawn, _rows(entry)
        return Look(shown(drawing), rows, times)

    def video(self, path: Path, name: str, score_thr: float, out: Path) -> str:
        """Draw what a model finds in at most :data:`MOST_FRAMES` frames of a video, evenly spread, into a file; returns a sentence.

        ``out`` is as for :func:`~menet_mm.apis.video.predict_video`. Raises ``InputError``.
        """
        check_upload(path)
        model, frames = self._model(name), 0

        def predict(frame: np.ndarray) -> dict[str, np.ndarray]:
            nonlocal frames
            frames += 1
            height, width = frame.shape[:2]
            if frame.shape[0] * frame.shape[1] > FRAME_PIXELS:
                most = f'{FRAME_PIXELS / 1e6:.0f} million'
                raise InputError(f'{path.name} has frames of {width} x {height}, but the page takes {most} pixels')
            if frames > MOST_FRAMES + 1:
                raise InputError(f'{path.name} has more frames than it says: it is damaged')
            return model(frame).found

        every = ceil((Video(str(path)).count or 0) / MOST_FRAMES) or 1
        with self._lock:
            done = predict_video(lambda: (predict, model.classes), str(path), out, None, score_thr, every)
        rate = done['frames'] / max(done['model_seconds'], 1e-9)
        what = f'{done["frames"]} frames' + (f', one of {every}' if every > 1 else '') + f', {done["objects"]} objects'
        cut = f'; it ends after {done["read"]} of {done["count"]} frames' if done['cut_off'] else ''
        return f'{what}; the model alone would do {rate:.0f} frames a second{cut}'

    def gates(self, path: Path, score_thr: float) -> GateLook:
        """Draw the gates of the trained model in a picture, and what it finds as they are, as means and without them.

        Raises ``InputError``, also if it has none.
        """
        check_arguments(score_thr, None)
        if not self.has_gates:
            raise InputError('this network has no ME path, so it has no gates to show')
        image, trained, drawings, found = read_upload(path), self._trained, [], {}
        with self._lock:
            maps, picture, found['on'] = gate_maps(trained.model, trained.predict, image)
            for switch in SWITCHES[1:]:
                with switch_gates(trained.model, switch):
                    found[switch] = trained.predict(image)
        names = dict(on='learnt', mean='means', off='off')
        for switch, result in found.items():
            entry = describe(result, trained.classes, score_thr)
            count = f': {len(entry["detections"])} objects' if 'detections' in entry else ''
            drawings.append((shown(draw_result(image, entry)), names[switch] + count))

        def draw(named: dict[str, np.ndarray]) -> list[tuple[np.ndarray, str]]:
            return [
                (shown(draw_map(picture, one)), f'{name}: {one.min():.2f} to {one.max():.2f}')
                for name, one in named.items()
            ]

        return GateLook(draw(mean_of_stages(maps)), draw(maps), drawings, compare(found, trained.classes, score_thr))


def _rows(entry: dict) -> list[list]:
    found = entry.get('detections', entry.get('classes'))
    return [
        [item['class'], round(item['score'], 3), ', '.join(f'{x:.0f}' for x in item.get('box', []))] for item in found
    ]


def compare(found: dict[str, dict[str, np.ndarray]], classes: Sequence[str] | None, score_thr: float) -> list[list]:
    """Compare results for one picture: rows of a class and its score in each, or None where it is not found.

    Of detectors there is a row for each object that one of the results has at ``score_thr``; the same object is a box of the
    same class with an IoU of at least 0.5. Of classifiers there is one for each of the five best classes of the first.
    """
    first, rows, taken = next(iter(found.values())), [], {name: set() for name in found}
    if 'boxes' not in first:
        best = [item['label'] for item in describe(first, classes, 0)['classes']]
        return [
            [classes[i] if classes else str(i), *(round(float(one['scores'][i]), 3) for one in found.values())]
            for i in best
        ]
    for name, result in found.items():
        for index in np.flatnonzero(result['scores'] >= score_thr):
            if index in taken[name]:
                continue
            label, scores = int(result['labels'][index]), []
            for other, theirs in found.items():
                pair = (
                    torch.as_tensor(each, dtype=torch.float32) for each in (result['boxes'][[index]], theirs['boxes'])
                )
                same = (box_iou(*pair)[0].numpy() >= 0.5) & (theirs['labels'] == label)
                same[list(taken[other])] = False
                best = int(np.argmax(np.where(same, theirs['scores'], -1))) if same.any() else None
                best = index if other == name else best
                if best is not None:
                    taken[other].add(best)
                scores.append(None if best is None else round(float(theirs['scores'][best]), 3))
            rows.append([classes[label] if classes else str(label), *scores])
    return rows
