_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='108-8x1-g3'),
    neck=dict(in_channels=(216, 432), out_channels=(216, 432, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(216, 432, 512, 256, 256, 128)),
)
