import hashlib
import json

import cv2
import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from menet_mm import InputError
from menet_mm.datasets.shapes import CLASSES, MAX_COVERED, SIDES, _covered, draw, make_shapes


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


def test_objects_keep_the_limits():
    numbers, names, truncated, overlaps = [], [], 0, 0
    for i in range(150):
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
            covered = [_covered(o.box, other.box) for other in objects[:k]]
            assert max(covered, default=0) <= MAX_COVERED
            overlaps += any(c > 0.05 for c in covered)
    assert set(numbers) == set(range(1, 7))
    assert set(names) == set(CLASSES)
    assert truncated > 10
    assert overlaps > 10


def test_boxes_enclose_the_drawn_shapes():
    """Draw the same scene with and without its objects: they differ inside the boxes alone, and up to their edges."""
    from menet_mm.datasets import shapes as module

    for i in range(10):
        rng = np.random.default_rng(i)
        objects = module._place(rng, 256, 256)[:1]
        ground = np.zeros((256, 256, 3), np.float32)
        module._paint(rng, ground, objects[0])
        ys, xs = np.nonzero(ground.any(axis=-1))
        x1, y1, x2, y2 = objects[0].box
        assert np.abs(np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) - [x1, y1, x2, y2]).max() <= 2


def test_colours_and_textures_do_not_tell_the_classes():
    """Mean colour inside an object is the same for all classes, within sampling error."""
    means = {name: [] for name in CLASSES}
    for i in range(300):
        picture, objects = draw(np.random.default_rng(i), held_out=False)
        top = objects[-1]
        x1, y1, x2, y2 = top.box
        cx, cy = (x1 + x2) // 2, (y1 + y2) // 2
        means[top.name].append(picture[cy - 2 : cy + 3, cx - 2 : cx + 3].mean())
    overall = np.mean(np.concatenate(list(means.values())))
    for values in means.values():
        assert abs(np.mean(values) - overall) < 4 * np.std(values) / len(values) ** 0.5


def test_splits_have_backgrounds_of_their_own():
    from menet_mm.datasets import shapes as module

    seen = {True: set(), False: set()}
    original = module._texture

    def spy(rng, width, height, kinds, colours):
        seen[held_out].add(kinds)
        return original(rng, width, height, kinds, colours)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, '_texture', spy)
        for held_out in (False, True):
            module._background(np.random.default_rng(0), 64, 64, held_out)
    assert not set.union(*map(set, seen[False])) & set.union(*map(set, seen[True]))


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


def test_a_picture_that_is_not_written_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, 'imwrite', lambda *_: False)
    with pytest.raises(InputError, match='trainval_00000.jpg cannot be written'):
        make_shapes(tmp_path / 'new', train=1, test=1)
    assert not (tmp_path / 'new').exists()
