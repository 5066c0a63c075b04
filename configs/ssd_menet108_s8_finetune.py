_base_ = 'ssd_menet108_finetune.py'
# For small objects: the map of MENet's first stage as well, with a cell for every 8 px and four anchors a cell.
anchor_generator = dict(
    strides=[8, 16, 32, 64, 107, 160, 320],
    ratios=[[2]] * 7,
    min_sizes=[16, 32, 80, 133, 182, 235, 283],
    max_sizes=[32, 80, 133, 182, 235, 283, 320],
)
channels = (108, 216, 432, 512, 256, 256, 128)
model = dict(
    backbone=dict(out_indices=(0, 1, 2)),
    neck=dict(in_channels=channels[:3], out_channels=channels),
    bbox_head=dict(in_channels=channels, anchor_generator=anchor_generator),
    # Small boxes lie between the cells, and are matched by half an anchor less often.
    train_cfg=dict(assigner=dict(pos_iou_thr=0.4, neg_iou_thr=0.35)),
)
# Zooming out would make small objects smaller.
train_pipeline = [
    dict(step, **(dict(prob=0) if step.type == 'menet_mm.ExpandCrop' else {})) for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=0.002))
