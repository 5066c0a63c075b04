"""SSD's loss for a whole batch at once; mmdet's goes picture by picture, and a GPU waits for Python meanwhile.

Nothing here waits for the GPU: sizes come from shapes, and choices are masks. Shapes: N pictures, A anchors, K objects of
all pictures together, C classes and the background. Boxes are (x1, y1, x2, y2) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.models.losses import smooth_l1_loss
from mmdet.models.task_modules import DeltaXYWHBBoxCoder, MaxIoUAssigner
from mmdet.structures.bbox import get_box_tensor
from mmengine.dist import all_reduce, get_world_size
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn import functional


@dataclass
class Boxes:
    """The boxes of a batch in one row.

    Attributes:
        boxes: (K, 4).
        picture: (K,), the picture of each box.
        counts: (N,), how many boxes each picture has.
    """

    boxes: Tensor
    picture: Tensor
    counts: Tensor


def join(instances: list[InstanceData | None], device: torch.device) -> Boxes:
    """Put the boxes of the pictures of a batch into one row."""
    boxes = [get_box_tensor(one.bboxes) for one in instances if one is not None and len(one.bboxes)]
    counts = [0 if one is None else len(one.bboxes) for one in instances]
    picture = [number for number, count in enumerate(counts) for _ in range(count)]
    none = torch.zeros(0, 4, device=device)
    return Boxes(torch.cat(boxes) if boxes else none, _to_device(picture, device), _to_device(counts, device))


def _to_device(numbers: Sequence[float], device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    # Only a copy from pinned memory does not wait.
    pinned = device.type == 'cuda'
    return torch.tensor(numbers, dtype=dtype, pin_memory=pinned).to(device, non_blocking=pinned)


def overlaps(boxes: Tensor, anchors: Tensor, share_of: str = 'union') -> Tensor:
    """Intersections of boxes (K, 4) and anchors (A, 4), as a share of their ``union``, of ``boxes`` or of ``anchors``.

    Returns:
        (K, A), the numbers of mmdet's ``bbox_overlaps``, which waits for the GPU.
    """
    x1, y1, x2, y2 = boxes.unsqueeze(-1).unbind(1)
    left, top, right, bottom = anchors.unbind(1)
    width = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp(min=0)
    common = width * (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp(min=0)
    of_boxes, of_anchors = (x2 - x1) * (y2 - y1), (right - left) * (bottom - top)
    whole = {'boxes': of_boxes, 'anchors': of_anchors, 'union': of_boxes + of_anchors - common}[share_of]
    return common / whole.clamp(min=1e-6)


def assign(assigner: MaxIoUAssigner, anchors: Tensor, objects: Boxes, ignored: Boxes) -> tuple[Tensor, Tensor]:
    """Assign objects to anchors as mmdet's ``MaxIoUAssigner`` does, in all pictures.

    Args:
        assigner: the thresholds.
        anchors: (A, 4), the same in every picture.
        objects: what is to be found.
        ignored: boxes that hide anchors, if ``assigner.ignore_iof_thr`` says so.

    Returns:
        - (N, A), the number of each anchor's object among the K, or K for none.
        - (N, A), whether the anchor is background. Some are neither.
    """
    n, k = len(objects.counts), len(objects.boxes)
    shares = overlaps(objects.boxes, anchors)
    if assigner.ignore_iof_thr > 0 and len(ignored.boxes):
        parts = overlaps(ignored.boxes, anchors, 'anchors' if assigner.ignore_wrt_candidates else 'boxes')
        hidden = _reduce(parts, ignored.picture, n, 'amax', -1) > assigner.ignore_iof_thr
        shares = shares.masked_fill(hidden[objects.picture], -1)

    number = torch.arange(k, device=anchors.device).unsqueeze(1)
    best = _reduce(shares, objects.picture, n, 'amax', -1)
    # Of objects that an anchor overlaps alike, the first counts.
    candidates = torch.where(shares == best[objects.picture], number, k)
    chosen = _reduce(candidates, objects.picture, n, 'amin', k).masked_fill(~(best >= assigner.pos_iou_thr), k)
    if assigner.match_low_quality:
        # Every object takes the anchors that overlap it most; of several objects, the last one does.
        most, index = shares.max(1, keepdim=True)
        takes = shares == most if assigner.gt_max_assign_all else index == _count(anchors)
        takes = takes & (most >= assigner.min_pos_iou)
        last = _reduce(torch.where(takes, number, -1), objects.picture, n, 'amax', -1)
        chosen = torch.where(last >= 0, last, chosen)

    limits = assigner.neg_iou_thr
    low, high = limits if isinstance(limits, tuple) else (0, limits)
    background = ((best >= low) & (best < high)) | (objects.counts == 0).unsqueeze(1)
    return chosen, background & (chosen == k)


def _count(rows: Tensor) -> Tensor:
    return torch.arange(len(rows), device=rows.device)


def _reduce(rows: Tensor, picture: Tensor, n: int, how: str, start: int) -> Tensor:
    """Reduce the rows (K, A) of each picture to one: (N, A)."""
    index = picture.unsqueeze(1).expand_as(rows)
    return rows.new_full((n, rows.shape[1]), start).scatter_reduce(0, index, rows, how)


def encode(coder: DeltaXYWHBBoxCoder, anchors: Tensor, boxes: Tensor) -> Tensor:
    """Boxes (N, A, 4) relative to anchors (A, 4): the deltas of ``coder.encode``, which waits for the GPU."""
    low, high = boxes.float().chunk(2, -1)
    anchor_low, anchor_high = anchors.float().chunk(2, -1)
    size = anchor_high - anchor_low
    shift = (low + high - (anchor_low + anchor_high)) * 0.5 / size
    deltas = torch.cat([shift, ((high - low) / size).log()], -1)
    means, stds = (_to_device(numbers, boxes.device, torch.float32) for numbers in (coder.means, coder.stds))
    return (deltas - means) / stds


def mine(losses: Tensor, wanted: Tensor) -> Tensor:
    """Choose the ``wanted`` (N,) largest losses (N, A) of each picture: a mask (N, A)."""
    order = losses.argsort(1, descending=True)
    ranks = torch.arange(losses.shape[1], device=losses.device)
    return torch.zeros_like(losses, dtype=torch.bool).scatter(1, order, ranks < wanted.unsqueeze(1))


def mean_over_processes(divisor: Tensor, falls_back: bool = False) -> Tensor:
    """Average what the losses are divided by, so that processes learn together what one learns of the whole batch.

    All processes must call it. Where one falls back on mmdet's loss, which knows its own divisor alone, so do all.
    """
    if get_world_size() == 1:
        return divisor
    total = torch.stack([divisor, torch.full_like(divisor, float(falls_back))])
    all_reduce(total)
    return torch.where(total[1] > 0, divisor, total[0] / get_world_size())


def ssd_loss(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    labels: Tensor,
    objects: Boxes,
    ignored: Boxes,
    assigner: MaxIoUAssigner,
    coder: DeltaXYWHBBoxCoder,
    neg_pos_ratio: float,
    smoothl1_beta: float,
    pos_weight: float = -1,
    background_negatives: int = 0,
) -> tuple[Tensor, Tensor]:
    """Compute SSD's loss as mmdet's ``SSDHead`` does, for all pictures at once.

    Args:
        scores: (N, A, C + 1), logits, the background last.
        deltas: (N, A, 4), predicted boxes relative to the anchors.
        anchors: (A, 4), the same in every picture.
        labels: (K,), classes of the objects.
        objects: the objects.
        ignored: boxes that are neither object nor background.
        assigner: says which anchors find which objects.
        coder: says how a box is written relative to an anchor.
        neg_pos_ratio: background anchors mined for each anchor with an object.
        smoothl1_beta: where the loss of boxes changes from square to linear.
        pos_weight: weight of anchors with an object; 1 if not positive.
        background_negatives: background anchors mined in a picture without any box.

    Returns:
        The loss of classes and the loss of boxes, each summed over pictures as mmengine sums mmdet's lists. mmdet's divides by
        the anchors with an object of one process, this one by their mean over all processes.
    """
    # Half precision is too coarse for sums and ranks.
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    deltas = deltas.to(scores.dtype)
    with torch.no_grad():
        chosen, background = assign(assigner, anchors, objects, ignored)
        positive = chosen < len(labels)
        wanted = neg_pos_ratio * positive.sum(1)
        if background_negatives:
            empty = objects.counts + ignored.counts == 0
            wanted = wanted + background_negatives * empty
        average = mean_over_processes(positive.sum(1).clamp(min=1).sum().to(scores.dtype))
        target_labels = torch.cat([labels, labels.new_full((1,), scores.shape[-1] - 1)])[chosen]
        boxes = torch.cat([objects.boxes, anchors[:1]])[chosen]  # any box will do where there is none
        targets = torch.where(positive[..., None], encode(coder, anchors, boxes), 0)
        weights = torch.where(positive, pos_weight if pos_weight > 0 else 1.0, background.to(scores.dtype))

    losses = functional.cross_entropy(scores.flatten(0, 1), target_labels.flatten(), reduction='none')
    losses = losses.view_as(weights) * weights
    mined = mine(losses.detach().masked_fill(positive, 0), wanted)
    loss_cls = torch.where(positive | mined, losses, 0).sum() / average
    loss_bbox = smooth_l1_loss(
        deltas, targets, positive[..., None].to(scores.dtype), beta=smoothl1_beta, avg_factor=average
    )
    return loss_cls, loss_bbox
