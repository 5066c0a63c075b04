_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='348-12x1-g3'),
    neck=dict(in_channels=(696, 1392), out_channels=(696, 1392, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(696, 1392, 512, 256, 256, 128)),
)
