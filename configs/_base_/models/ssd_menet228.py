# SSDLite on MENet: depthwise extra levels and heads, so that the detector stays mobile. At 300 px the six maps have
# 19, 10, 5, 3, 2 and 1 cells a side; the first two are MENet's own.
# `_scope_` lets other packages inherit this file as `menet_mm::menet/...`.
norm_cfg = dict(type='BN')
model = dict(
    _scope_='mmdet',
    type='SingleStageDetector',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    # ImageNet features: model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.').
    backbone=dict(type='menet_mm.MENet', arch='228-12x1-g3', out_indices=(1, 2)),
    neck=dict(
        type='SSDNeck',
        in_channels=(456, 912),
        out_channels=(456, 912, 512, 256, 256, 128),
        level_strides=(2, 2, 2, 2),
        level_paddings=(1, 1, 1, 1),
        l2_norm_scale=None,
        use_depthwise=True,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type='menet_mm.SSDHead',
        in_channels=(456, 912, 512, 256, 256, 128),
        num_classes=20,
        use_depthwise=True,
        norm_cfg=norm_cfg,
        act_cfg=dict(type='ReLU'),
        init_cfg=dict(type='Normal', layer='Conv2d', std=0.01),
        anchor_generator=dict(
            type='SSDAnchorGenerator',
            scale_major=False,
            # 10 % of the picture for the small objects of VOC, then 25 to 88 % in steps of about 16 %.
            strides=[16, 30, 60, 100, 150, 300],
            ratios=[[2, 3]] * 6,
            min_sizes=[30, 75, 125, 170, 220, 265],
            max_sizes=[75, 125, 170, 220, 265, 300],
        ),
        bbox_coder=dict(
            type='DeltaXYWHBBoxCoder',
            target_means=[0.0, 0.0, 0.0, 0.0],
            target_stds=[0.1, 0.1, 0.2, 0.2],
        ),
    ),
    train_cfg=dict(
        assigner=dict(
            type='MaxIoUAssigner',
            pos_iou_thr=0.5,
            # Not 0.5: hard negative mining would pick just the anchors that nearly match.
            neg_iou_thr=0.4,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type='PseudoSampler'),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=1000,
        nms=dict(type='nms', iou_threshold=0.45),
        min_bbox_size=0,
        score_thr=0.02,
        max_per_img=200,
    ),
)
