"""The loss of a whole batch beside mmdet's, which goes picture by picture."""

from collections import Counter
from copy import deepcopy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules import MaxIoUAssigner
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from menet_mm import InputError

SIDE = 64
#: Of three levels, the last of one cell.
MAPS = [(5, 5), (3, 3), (1, 1)]
SMALL = dict(
    in_channels=(2, 2, 2),
    num_classes=4,
    anchor_generator=dict(
        type='SSDAnchorGenerator',
        scale_major=False,
        strides=[13, 22, 64],
        ratios=[[2], [2, 3], [2]],
        min_sizes=[8, 20, 40],
        max_sizes=[20, 40, 60],
    ),
)


@cache
def read_model() -> Config:
    return Config.fromfile('configs/ssd_menet228_voc.py').model


def build(kind: str = 'menet_mm.SSDHead', small: bool = True, **changes):
    """A head, with changes to its settings by dotted names."""
    init_default_scope('mmdet')
    model = read_model()
    cfg = Config(
        dict(deepcopy(model.bbox_head), type=kind, train_cfg=deepcopy(model.train_cfg), **(SMALL if small else {}))
    )
    cfg.merge_from_dict(deepcopy(changes))  # which takes `_delete_` out of them
    return MODELS.build(cfg.to_dict())


def predict(
    head, pictures: int, seed: int = 0, maps: list = MAPS, dtype: torch.dtype = torch.float64
) -> list[list[Tensor]]:
    """Random scores and deltas of each level."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [
            torch.randn(pictures, cells * channels, *size, generator=generator, dtype=torch.float64)
            .to(dtype)
            .requires_grad_()
            for cells, size in zip(head.num_base_priors, maps, strict=True)
        ]
        for channels in (head.cls_out_channels, 4)
    ]


def compute(
    head, truth: list, predictions: list, ignored: list | None = None, side: int = SIDE, last: int = SIDE
) -> dict:
    """The losses as mmengine sums them up; ``last`` is the size of the last picture, padded to ``side``."""
    sides = [*[side] * (len(truth) - 1), last]
    metas = [dict(img_shape=(size, size), pad_shape=(size, size)) for size in sides]
    found = head.loss_by_feat(*predictions, truth, metas, ignored)
    return {
        name: sum(loss.mean() for loss in ([losses] if torch.is_tensor(losses) else losses))
        for name, losses in found.items()
    }


def with_gradients(head, truth: list, ignored: list | None = None, seed: int = 0, **sides: int) -> tuple[dict, list]:
    scores, deltas = predict(head, len(truth), seed)
    losses = compute(head, truth, [scores, deltas], ignored, **sides)
    gradients = [*torch.autograd.grad(losses['loss_cls'], scores), *torch.autograd.grad(losses['loss_bbox'], deltas)]
    return losses, gradients


def assert_equals_mmdets(settings: dict, truth: list, *args, **kwargs) -> None:
    theirs, their_gradients = with_gradients(build('mmdet.SSDHead', **settings), truth, *args, **kwargs)
    ours, our_gradients = with_gradients(build(**settings), truth, *args, **kwargs)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12, equal_nan=True)
    for our, their in zip(our_gradients, their_gradients, strict=True):
        # Zero for an anchor that is neither positive nor mined, so the same ones were chosen.
        assert torch.equal(our == 0, their == 0)
        torch.testing.assert_close(our, their, rtol=1e-6, atol=1e-12, equal_nan=True)


def instances(rows: list, seed: int = 0) -> InstanceData:
    labels = torch.randint(0, 4, (len(rows),), generator=torch.Generator().manual_seed(seed))
    return InstanceData(bboxes=torch.tensor(rows, dtype=torch.float32).view(-1, 4), labels=labels)


# Few different corners make ties, and equal ones make boxes of no size.
corners = st.integers(0, SIDE // 4).map(lambda number: 4 * number)
boxes = st.tuples(corners, corners, corners, corners).map(
    lambda c: [min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])]
)
objects = st.one_of(st.lists(boxes, max_size=4), st.lists(boxes, min_size=60, max_size=60))
assigners = st.fixed_dictionaries(
    {
        'train_cfg.assigner.pos_iou_thr': st.sampled_from([0.5, 0.35, 0.7]),
        'train_cfg.assigner.neg_iou_thr': st.sampled_from([0.4, 0.5, (0.1, 0.4), 0.8]),
        'train_cfg.assigner.min_pos_iou': st.sampled_from([0.0, 0.2, 0.6]),
        'train_cfg.assigner.gt_max_assign_all': st.booleans(),
        'train_cfg.assigner.match_low_quality': st.booleans(),
        'train_cfg.assigner.ignore_iof_thr': st.sampled_from([-1, 0.3]),
        'train_cfg.assigner.ignore_wrt_candidates': st.booleans(),
        'train_cfg.neg_pos_ratio': st.sampled_from([3, 1, 10]),
        'train_cfg.pos_weight': st.sampled_from([-1, 2.0]),
        'train_cfg.smoothl1_beta': st.sampled_from([1.0, 0.1]),
    }
)
OTHER_CODERS = [
    {'bbox_coder.target_stds': [1.0, 0.5, 0.2, 0.3], 'bbox_coder.target_means': [0.1, 0.2, -0.3, 0.0]},
    {'bbox_coder': dict(type='TBLRBBoxCoder', _delete_=True)},
    {'bbox_coder': dict(type='LegacyDeltaXYWHBBoxCoder', _delete_=True)},
]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    pictures=st.lists(st.tuples(objects, st.none() | st.lists(boxes, max_size=3)), min_size=1, max_size=5),
    assigner=assigners,
    coder=st.sampled_from([{}, {}, {}, *OTHER_CODERS]),
    seed=st.integers(0, 1000),
)
def test_equals_mmdets(pictures, assigner, coder, seed):
    truth = [instances(rows, seed + number) for number, (rows, _) in enumerate(pictures)]
    ignored = [None if rows is None else instances(rows) for _, rows in pictures]
    assert_equals_mmdets({**assigner, **coder}, truth, ignored, seed)


TRUTH = [[[4, 4, 40, 30], [20, 8, 60, 60]], [], [[8, 8, 30, 20]]]


@pytest.fixture
def truth() -> list[InstanceData]:
    return [instances(rows, number) for number, rows in enumerate(TRUTH)]


class OtherAssigner(MaxIoUAssigner):
    """One that might do anything."""


def test_equals_mmdets_with_a_padded_picture(truth):
    assert_equals_mmdets({}, truth, last=40)


@pytest.mark.parametrize(
    ('changes', 'reason'),
    [
        ({'train_cfg.allowed_border': 30}, 'allowed_border'),
        ({'train_cfg.assigner.gpu_assign_thr': 1}, 'assigner.gpu_assign_thr'),
        ({'train_cfg.assigner.iou_calculator': dict(type='BboxOverlaps2D', dtype='fp16')}, 'assigner.iou_calculator'),
        (
            {'train_cfg.assigner': dict(type=OtherAssigner)},
            'assigner',
        ),
        ({'reg_decoded_bbox': True}, 'reg_decoded_bbox'),
        (OTHER_CODERS[1], 'bbox_coder'),
    ],
)
def test_what_it_does_not_know_mmdets_loss_computes(truth, caplog, changes, reason):
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('INFO')  # a command that ran in this process may have left one that says errors alone
    logger.addHandler(caplog.handler)
    assert_equals_mmdets(changes, truth)
    logger.removeHandler(caplog.handler)
    logger.setLevel(level)
    assert [line for line in caplog.messages if line.endswith(f'due to {reason}')]


def test_without_objects_nothing_is_learned_unless_asked_for():
    nothing = [instances([]), instances([])]
    losses, _ = with_gradients(build(), nothing)
    assert losses['loss_cls'] == losses['loss_bbox'] == 0
    losses, gradients = with_gradients(build(background_negatives=4), nothing)
    levels = gradients[: len(MAPS)]
    # Rows of five classes; each of the chosen anchors pushes all its classes.
    anchors = [level.permute(0, 2, 3, 1).reshape(2, -1, 5).abs().sum(-1) for level in levels]
    assert ((torch.cat(anchors, 1) > 0).sum(1) == 4).all()
    assert losses['loss_cls'] > 0
    assert losses['loss_bbox'] == 0


def test_background_negatives_change_only_pictures_without_a_box(truth):
    """A picture whose boxes are all to be ignored is not one of background."""
    ignored = [None, instances([[0, 0, 64, 64]]), None]
    plain, _ = with_gradients(build(), truth, ignored)
    asked, _ = with_gradients(build(background_negatives=4), truth, ignored)
    torch.testing.assert_close(asked, plain)


def test_background_negatives_are_refused_where_mmdets_loss_computes(truth):
    head = build(background_negatives=4, reg_decoded_bbox=True)
    with pytest.raises(InputError, match='reg_decoded_bbox'):
        compute(head, truth, predict(head, 3))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(truth, dtype):
    """Predictions as they come with AMP: summed and ranked in single precision."""
    head = build()
    predictions = predict(head, 3, dtype=dtype)
    # A CPU has AMP in bfloat16 alone.
    with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
        losses = compute(head, truth, predictions)
    exact = compute(head, truth, [[level.detach().double() for level in levels] for levels in predictions])
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss.double(), exact[name], rtol=1e-5, atol=0)
    sum(losses.values()).backward()
    assert all(level.grad.dtype == dtype and level.grad.isfinite().all() for level in predictions[0])


class Operators(TorchDispatchMode):
    """Counts the operators that are dispatched, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        masks = (
            [index for index in args[1] if index is not None and index.dtype == torch.bool]
            if name == 'aten::index'
            else []
        )
        self.names['boolean indexing' if masks else name] += 1
        return function(*args, **(kwargs or {}))


#: Operators whose result has a size, or goes to Python, that only a finished computation tells.
WAITING = {'aten::_local_scalar_dense', 'aten::nonzero', 'aten::masked_select', 'aten::unique_dim', 'aten::_unique2'}
WAITING |= {'boolean indexing', 'aten::equal', 'aten::is_nonzero', 'aten::item'}


@pytest.mark.parametrize('batch', [8, 32, 64])
def test_few_operators_whatever_the_batch_and_none_that_waits(batch):
    maps = [(19, 19), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]
    head = build(small=False, background_negatives=10)
    truth = [instances([[10, 10, 100, 90 + number]] * (number % 5)) for number in range(batch)]
    predictions = predict(head, batch, maps=maps, dtype=torch.float32)
    with Operators() as operators:
        compute(head, truth, predictions, side=300, last=300)
    assert operators.names.total() <= 300
    assert not WAITING & set(operators.names)
