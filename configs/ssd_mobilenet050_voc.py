_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(type='menet_mm.MobileNetV1', arch='0.5'),
    neck=dict(in_channels=(256, 512), out_channels=(256, 512, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(256, 512, 512, 256, 256, 128)),
)
