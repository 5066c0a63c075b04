_base_ = 'ssd_menet108_voc12.py'
# For small objects: the map of MENet's first stage as well, with a cell for every 8 px and four anchors a cell.
coarser = _base_.anchor_generator
anchor_generator = dict(
    strides=[8, *coarser.strides],
    ratios=[[2]] + [[2, 3]] * 6,
    min_sizes=[16, *coarser.min_sizes],
    max_sizes=[32, *coarser.max_sizes],
)
channels = (108, 216, 432, 512, 256, 256, 128)
model = dict(
    backbone=dict(out_indices=(0, 1, 2)),
    neck=dict(in_channels=channels[:3], out_channels=channels),
    bbox_head=dict(in_channels=channels, anchor_generator=anchor_generator),
)
