# The ME operations in somebody else's backbone: ResNet-50 gates the features of each 3x3 convolution.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '_base_/datasets/voc07_1000x600.py',
    '_base_/schedules/faster_rcnn_24e.py',
    '_base_/runtime_mmdet.py',
]
model = dict(
    backbone=dict(plugins=[dict(cfg=dict(type='menet_mm.MEPlugin', side_channels=12), position='after_conv2')]),
    roi_head=dict(bbox_head=dict(num_classes=20)),
)
