_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='128-8x1-g4'),
    neck=dict(in_channels=(256, 512), out_channels=(256, 512, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(256, 512, 512, 256, 256, 128)),
)
