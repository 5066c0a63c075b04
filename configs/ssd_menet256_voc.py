_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='256-12x1-g4'),
    neck=dict(in_channels=(512, 1024), out_channels=(512, 1024, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(512, 1024, 512, 256, 256, 128)),
)
