_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(type='menet_mm.ShuffleNetV1', arch='0.5x-g3'),
    neck=dict(in_channels=(240, 480), out_channels=(240, 480, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(240, 480, 512, 256, 256, 128)),
)
