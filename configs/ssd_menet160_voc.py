_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='160-8x1-g8'),
    neck=dict(in_channels=(320, 640), out_channels=(320, 640, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(320, 640, 512, 256, 256, 128)),
)
