"""The check of a whole data set, from its folder or from a config."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from menet_mm.datasets.doctor.cases import Finding
from menet_mm.datasets.doctor.examine import Exam, read_config_data, read_folder, read_pictures
from menet_mm.datasets.doctor.kinds import find
from menet_mm.utils.config import read_config


def check_folder(root: Path, format: str = 'auto') -> tuple[Exam, list[Finding]]:
    """Check a folder of one of the formats of ``reading.FORMATS``; ``InputError`` if it is of none."""
    exam = read_folder(root, format)
    read_pictures(exam)
    return exam, find(exam)


def check_config(name: str) -> tuple[Exam, list[Finding]]:
    """Check the data sets of a config, and an SSD's anchors against their boxes; ``InputError`` if they are not there."""
    cfg = read_config(name)
    exam = read_config_data(cfg)
    read_pictures(exam)
    exam.missed = _count_missed(cfg, exam)
    return exam, find(exam)


def _count_missed(cfg: Config, exam: Exam) -> tuple[int, float] | None:
    if cfg.get('default_scope') != 'mmdet' or not exam.input_size or 'train' not in exam.parts:
        return None
    from menet_mm.datasets.anchors import build_model, share_of_missed

    rows = []
    for split, _, picture, facts in exam.pictures():
        if split == 'train' and facts.header:
            scale = [side / full for side, full in zip(exam.input_size, facts.header.shown, strict=True)] * 2
            boxes = [(box.x1, box.y1, box.x2, box.y2) for box in picture.boxes if box.name in exam.classes]
            rows += [[value * part for value, part in zip(box, scale, strict=True)] for box in boxes]
    return share_of_missed(build_model(cfg), rows, exam.input_size)
