_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(type='menet_mm.ShuffleNetV1', arch='1x-g3'),
    neck=dict(in_channels=(480, 960), out_channels=(480, 960, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(480, 960, 512, 256, 256, 128)),
)
