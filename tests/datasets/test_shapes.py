import errno
import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from menet_mm import InputError
from menet_mm.datasets.shapes import BACKGROUNDS, CLASSES, MAX_COVERED, SIDES, draw, make_shapes


@pytest.fixture(autouse=True)
def _mmdet_scope():
    init_default_scope('mmdet')


def voc(root, split='trainval', **kwargs):
    return DATASETS.build(
        dict(
            type='VOCDataset',
            data_root=str(root),
            ann_file=f'VOC2007/ImageSets/Main/{split}.txt',
            data_prefix=dict(sub_data_root='VOC2007/'),
            metainfo=dict(classes=CLASSES),
            pipeline=[],
            **kwargs,
        )
    )


def test_annotations_are_the_same_on_every_machine(shapes):
    """A change of the generator, of numpy or of the platform shows here; then raise shapes.VERSION."""
    text = b''.join(path.read_bytes() for path in sorted((shapes / 'VOC2007/Annotations').iterdir()))
    assert hashlib.sha256(text).hexdigest() == '125aef98b14c4f659ac8571d46cd4661f2ac9c8ee3c3906a9b7863814bfa8ed2'


def covered(a: tuple[int, ...], b: tuple[int, ...]) -> float:
    """Overlap of two boxes as a part of the smaller one."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0) * max(h, 0) / min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))


def test_objects_keep_the_limits():
    numbers, names, truncated, overlaps = [], [], 0, 0
    for i in range(100):
        picture, objects = draw(np.random.default_rng(i), held_out=bool(i % 2))
        height, width = picture.shape[:2]
        numbers.append(len(objects))
        names += [o.name for o in objects]
        truncated += sum(o.truncated for o in objects)
        for k, o in enumerate(objects):
            x1, y1, x2, y2 = o.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
            for side in ((x2 - x1) / width, (y2 - y1) / height):
                assert SIDES[0] <= side <= SIDES[1]
            parts = [covered(o.box, other.box) for other in objects[:k]]
            assert max(parts, default=0) <= MAX_COVERED
            overlaps += any(part > 0.05 for part in parts)
    assert set(numbers) == set(range(1, 7))
    assert set(names) == set(CLASSES)
    assert truncated > 10
    assert overlaps > 10


def test_boxes_and_outlines_are_where_the_objects_are():
    """Pixels change across the outline of an object, and more so than anywhere near it."""
    edges, near = [], []
    for i in range(60):
        picture, objects = draw(np.random.default_rng(i), held_out=False)
        height, width = picture.shape[:2]
        top = objects[-1]
        inside = np.clip(top.outline, 0, (width, height))
        tight = np.concatenate([np.floor(inside.min(axis=0)), np.ceil(inside.max(axis=0))])
        assert np.array_equal(top.box, tight)
        assert top.truncated == (not np.array_equal(inside, top.outline))
        change = np.abs(np.diff(picture.astype(int), axis=1)).sum(axis=-1)
        for moved, found in ((0, edges), (7, near)):
            line = np.zeros((height, width), np.uint8)
            cv2.polylines(line, [np.round(top.outline + moved).astype(np.int32)], True, 1)
            found.append(change[line[:, :-1] > 0].mean())
    assert np.mean(edges) > 2 * np.mean(near)


def test_colours_and_textures_do_not_tell_the_classes():
    """Mean colour inside an object is the same for all classes, within sampling error."""
    means = {name: [] for name in CLASSES}
    for i in range(150):
        picture, objects = draw(np.random.default_rng(i), held_out=False)
        top = objects[-1]
        x1, y1, x2, y2 = top.box
        cx, cy = (x1 + x2) // 2, (y1 + y2) // 2
        means[top.name].append(picture[cy - 2 : cy + 3, cx - 2 : cx + 3].mean())
    overall = np.mean(np.concatenate(list(means.values())))
    for values in means.values():
        assert abs(np.mean(values) - overall) < 4 * np.std(values) / len(values) ** 0.5


def test_splits_have_backgrounds_of_their_own():
    assert not set(BACKGROUNDS[False]) & set(BACKGROUNDS[True])
    pictures = [draw(np.random.default_rng(0), held_out)[0] for held_out in (False, True)]
    assert not np.array_equal(*pictures)


def test_voc_and_coco_forms_agree(shapes):
    coco = DATASETS.build(
        dict(
            type='CocoDataset',
            data_root=str(shapes),
            ann_file='annotations/trainval.json',
            data_prefix=dict(img='VOC2007/JPEGImages/'),
            metainfo=dict(classes=CLASSES),
            pipeline=[],
        )
    )
    other = voc(shapes)
    assert len(coco) == len(other) == 12
    for i in range(len(coco)):
        a, b = coco.get_data_info(i), other.get_data_info(i)
        assert cv2.imread(a['img_path']).shape[:2] == (b['height'], b['width'])
        for one, two in zip(a['instances'], b['instances'], strict=True):
            assert one['bbox_label'] == two['bbox_label']
            # mmdet reads VOC's inclusive corner minus 1, which is one less than COCO's x + width.
            assert np.subtract(one['bbox'], two['bbox']).tolist() == [0, 0, 1, 1]


def test_same_recipe_is_not_drawn_again_and_another_replaces_it(tmp_path):
    out = make_shapes(tmp_path / 'shapes', train=2, test=1)
    first = (out / 'VOC2007/JPEGImages/trainval_00000.jpg').stat().st_mtime_ns
    make_shapes(out, train=2, test=1)
    assert (out / 'VOC2007/JPEGImages/trainval_00000.jpg').stat().st_mtime_ns == first
    make_shapes(out, train=1, test=1)
    assert len(json.loads((out / 'annotations/trainval.json').read_text())['images']) == 1
    assert [p.name for p in tmp_path.iterdir()] == ['shapes']


def test_foreign_folders_are_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(InputError, match='holds something else'):
        make_shapes(tmp_path, train=1, test=1)
    with pytest.raises(InputError, match='at least one picture'):
        make_shapes(tmp_path / 'new', train=0, test=1)
    with pytest.raises(InputError, match='the seed must be 0 or more, but got -1'):
        make_shapes(tmp_path / 'new', train=1, test=1, seed=-1)
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', full)
    with pytest.raises(InputError, match=r'trainval_00000.jpg cannot be written \(No space left on device\)'):
        make_shapes(tmp_path / 'new', train=1, test=1)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(InputError, match=r'new cannot be written \(No space left on device\)'):
        make_shapes(tmp_path / 'new', train=1, test=1)
    assert not list(tmp_path.iterdir())
