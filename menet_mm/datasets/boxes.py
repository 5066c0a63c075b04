"""A data set of boxes in any format that ``reading`` knows, where it lies, for mmdet's pipelines and metrics."""

from __future__ import annotations

import logging
from collections import Counter
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path

from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import BaseDetDataset
from mmengine.dataset import Compose
from mmengine.logging import print_log

from menet_mm.datasets.formats.files import as_labelled, read_header, read_text
from menet_mm.datasets.labels import Box, Labels, Picture
from menet_mm.datasets.reading import read_labels
from menet_mm.errors import InputError
from menet_mm.registry import DATASETS


@DATASETS.register_module()
class BoxDataset(BaseDetDataset):
    """Pictures with boxes, in VOC's, COCO's, YOLO's, LabelMe's or CSV's files.

    Args:
        data_root: the folder of pictures and labels.
        format: ``auto``, or the one of ``reading.FORMATS`` that the labels are in.
        rename: other names for classes of the files, such as ``dict(Helmet='helmet')``.
        ann_file: a list of pictures, one a line: paths from ``data_root``, or names; all pictures without one. A relative path
            is seen from ``data_root``.
        metainfo: ``classes`` in the order of the labels; by default those of the files. Boxes of other classes are left out.
        filter_cfg: as in mmdet: ``filter_empty_gt`` and ``min_size``; what it leaves out is logged.

    Boxes without an area are left out, and so are those outside their picture. A picture that EXIF turns, but its annotation
    does not, is read unturned.

    Raises:
        InputError: if files, classes or pictures are not there or cannot be read.
    """

    def __init__(
        self, *args: object, format: str = 'auto', rename: dict[str, str] | None = None, **kwargs: object
    ) -> None:
        self.format, self.rename = format, rename
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read labels, the list, and the headers of its pictures."""
        labels, _ = read_labels(self.data_root, self.format, self.rename)
        labels.check()
        # These are of the whole folder, whatever the list takes of it.
        for line in labels.said():
            print_log(f'{self.data_root}: {line}', 'current', logging.WARNING)
        labels.notes.clear()
        ids = list(labels.pictures)
        if self.ann_file:
            if not Path(self.ann_file).is_file():
                raise InputError(f'no list {self.ann_file}: make it with tools/new_project.py, or correct ann_file')
            ids = labels.select(read_text(Path(self.ann_file)).splitlines(), self.ann_file)
        classes = self._metainfo.setdefault('classes', tuple(labels.classes))
        self._check_classes(labels, ids, classes)
        infos = [self._read(name, labels.pictures[name], labels, classes) for name in ids]
        for line in labels.said():
            print_log(f'{self.ann_file or self.data_root}: {line}', 'current', logging.WARNING)
        return infos

    def _check_classes(self, labels: Labels, ids: list[str], classes: tuple[str, ...]) -> None:
        if twice := [name for name, number in Counter(classes).items() if number > 1]:
            raise InputError(f'metainfo.classes names {twice[0]} twice: each class must stand once')
        counts, source = labels.counts(ids), self.ann_file or self.data_root
        for name in counts:
            if name not in classes:
                near = get_close_matches(name, classes, 1)
                meant = f' (did you mean it by {near[0]!r}?)' if near else ''
                labels.note(f'classes are not in metainfo.classes, and their boxes are left out{meant}', repr(name))
        if not counts and self.test_mode:
            labels.note('lists have no object, so that no precision can be measured', source)
        elif not counts.keys() & set(classes):
            known, advice = ', '.join(labels.classes), 'set metainfo.classes to names that occur in the data'
            raise InputError(f'no object in {source} is of {", ".join(classes)}; it has {known}: {advice}')

    def _read(self, name: str, picture: Picture, labels: Labels, classes: tuple[str, ...]) -> dict:
        if not (header := read_header(picture.path)):
            raise InputError(
                f'picture {picture.path} cannot be read: replace it, or take it out of {self.ann_file or "the set"}'
            )
        size, unturned, note = as_labelled(picture, header)
        if note:
            labels.note(note, name)
        instances = []
        for box in picture.boxes:
            if box.name not in classes:
                continue
            if defect := _defect(box, *size):
                labels.note(f'boxes {defect}, and are left out', name)
                continue
            ignored = int(box.difficult or box.crowd)
            sides = [box.x1, box.y1, box.x2, box.y2]
            instances.append(dict(bbox=sides, bbox_label=classes.index(box.name), ignore_flag=ignored))
        path, (width, height) = str(picture.path), size
        return dict(img_path=path, img_id=name, width=width, height=height, unturned=unturned, instances=instances)

    def filter_data(self) -> list[dict]:
        """Leave out what ``filter_cfg`` says, and log how many pictures that are.

        Raises:
            InputError: if none is left.
        """
        rules, left, kept = {} if self.test_mode else self.filter_cfg or {}, Counter(), []
        for info in self.data_list:
            if min(info['width'], info['height']) < rules.get('min_size', 0):
                left[f'under {rules["min_size"]} px'] += 1
            elif rules.get('filter_empty_gt') and not info['instances']:
                left['without an object'] += 1
            else:
                kept.append(info)
        why = ', '.join(f'{number} {reason}' for reason, number in left.items())
        name, total = self.ann_file or self.data_root, len(self.data_list)
        if not kept:
            raise InputError(
                f'no picture of {name} is left ({why or "it has none"}): look at its labels and at filter_cfg'
            )
        if left:
            print_log(f'{name}: {total - len(kept)} of {total} pictures are left out: {why}', 'current')
        return kept

    def prepare_data(self, idx: int) -> object:
        """Load a picture and let the pipeline work on it."""
        info = self.get_data_info(idx)
        pipeline = self.pipeline
        if info['unturned']:
            pipeline = Compose([])
            pipeline.transforms = [_without_turning(step) for step in self.pipeline.transforms]
        return pipeline(info)


def _defect(box: Box, width: int, height: int) -> str | None:
    if box.x2 <= box.x1 or box.y2 <= box.y1:
        return 'have no area'
    return 'lie outside their picture' if box.x1 >= width or box.y1 >= height or box.x2 <= 0 or box.y2 <= 0 else None


def _without_turning(step: object) -> object:
    if isinstance(step, LoadImageFromFile):
        step = deepcopy(step)
        step.color_type = 'color_ignore_orientation'
    return step
