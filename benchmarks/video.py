"""How fast a video goes through a detector, beside the detector alone: ``python -m benchmarks.video [--out FILE.csv]``.

A generated video is read, predicted and written down by what ``tools/infer.py`` calls, in turns with the detector alone on the
same frames in memory. Detector and OpenCV have one thread each; reading ahead and drawing have a thread of their own.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import numpy as np
import pandas as pd
import torch
from mmengine.registry import MODELS, init_default_scope

from benchmarks.build import load_config
from benchmarks.machine import describe_machine
from menet_mm.apis.inference import get_predictor
from menet_mm.apis.video import predict_video
from menet_mm.checkpoints import write_checkpoint
from menet_mm.deploy import Runner, export
from menet_mm.utils.cli import run

SIZE, FPS = (640, 480), 25  # of the video
BOXES = np.float32([[20 + 120 * i, 40 + 60 * i, 120 + 120 * i, 160 + 60 * i] for i in range(5)])


def write_video(path: Path, count: int) -> list[np.ndarray]:
    """Write a camera's way over a smooth random picture, with noise as a camera's, and return its frames."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(0, 255, (48, 64, 3), np.uint8), (1280, 960), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-6, 7, scene.shape, np.int16)
    scene = (scene + noise).clip(0, 255).astype(np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), FPS, SIZE)
    for i in range(count):
        x, y = 640 * i // count, 480 * i // count
        writer.write(scene[y : y + SIZE[1], x : x + SIZE[0]])
    writer.release()
    capture = cv2.VideoCapture(str(path))
    return [capture.read()[1] for _ in range(count)]


def make_predictors(network: str, folder: Path, frame: np.ndarray) -> dict[str, Callable[[np.ndarray], dict]]:
    """Make a detector with random weights that finds nothing, as functions of a picture, by runtime; five boxes are put in."""
    torch.manual_seed(0)
    cfg = load_config(network)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    classes = model.bbox_head.num_classes
    for convs in model.bbox_head.cls_convs:
        bias = [layer for layer in convs.modules() if isinstance(layer, torch.nn.Conv2d)][-1].bias
        bias.data.view(-1, classes + 1)[:, -1] += 8  # background, as nearly everywhere for a trained detector
    weights, exported = folder / 'ssd.pth', folder / 'ssd.onnx'
    write_checkpoint(weights, model.state_dict(), dict(dataset_meta=dict(classes=[str(i) for i in range(classes)])))
    export(cfg.filename, str(weights), exported, [frame])
    runner = Runner(exported, threads=1)
    plain = dict(
        torch=get_predictor(cfg.filename, str(weights), 'cpu')[0], onnxruntime=lambda image: runner(image, 0.3)[0]
    )
    found = dict(boxes=BOXES, scores=np.full(len(BOXES), 0.9), labels=np.arange(len(BOXES)))

    def with_boxes(predict: Callable) -> Callable:
        return lambda image: {**predict(image), **found}

    return {name: with_boxes(predict) for name, predict in plain.items()}


def measure(network: str, count: int, rounds: int) -> list[dict]:
    """Return a row for each runtime and kind of result: frames a second of the detector alone, of the video, their ratio.

    ``share`` is the part of the video's time that is the detector's, which says the same where the machine is shared.
    """
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frames = write_video(folder / 'video.mp4', count)
        for runtime, predict in make_predictors(network, folder, frames[0]).items():
            found = {None: [], 'drawn.mp4': []}
            for frame in frames[:20]:
                predict(frame)  # the first ones warm up
            for _ in range(rounds):
                for out, measured in found.items():
                    begun = perf_counter()
                    for frame in frames:
                        predict(frame)
                    alone = perf_counter() - begun
                    files = dict(out=out and folder / out, table=folder / 'lines.json')
                    done = predict_video(lambda predict=predict: (predict, None), str(folder / 'video.mp4'), **files)
                    measured.append((alone, done['seconds'], done['model_seconds']))
            for out, measured in found.items():
                what = dict(network=network, runtime=runtime, result='lines and video' if out else 'lines')
                alone, video = (count / median(column) for column in (*zip(*measured, strict=True),)[:2])
                ratio, share = (median(one[k] / one[1] for one in measured) for k in (0, 2))
                rows.append(dict(what, alone_fps=alone, video_fps=video, ratio=ratio, share=share, rounds=rounds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--network', default='ssd_menet128_voc', help='an SSD')
    parser.add_argument('--frames', type=int, default=300)
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--out', help='a CSV file')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    table = pd.DataFrame(measure(args.network, args.frames, args.rounds))
    print(table.to_string(index=False, float_format='{:.3f}'.format))
    if args.out:
        stamp = describe_machine(['torch', 'onnxruntime', 'opencv-python', 'opencv-python-headless'])
        table.assign(**stamp).to_csv(args.out, index=False, float_format='%.3f')


if __name__ == '__main__':
    run(main)
