# Faster R-CNN with FPN. MENet's maps have strides 8, 16 and 32, so the pyramid is P3 to P7 with the usual anchor sizes
# of 32 to 512 px. FPN and heads are half as wide as mmdet's ResNet-50 configuration.
_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'
model = dict(
    _scope_='mmdet',
    # ImageNet features: model.backbone.init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.').
    backbone=dict(_delete_=True, type='menet_mm.MENet', arch='228-12x1-g3', out_indices=(0, 1, 2)),
    neck=dict(in_channels=[228, 456, 912], out_channels=128, norm_cfg=dict(type='BN')),
    rpn_head=dict(
        in_channels=128,
        feat_channels=128,
        anchor_generator=dict(scales=[4], strides=[8, 16, 32, 64, 128]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=128, featmap_strides=[8, 16, 32], finest_scale=112),
        bbox_head=dict(in_channels=128, fc_out_channels=512, num_classes=20),
    ),
    # The box head runs once for each proposal: with 300 of them instead of mmdet's 1000 it costs less than the pyramid.
    test_cfg=dict(rpn=dict(max_per_img=300)),
)
