_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='352-12x1-g8'),
    neck=dict(in_channels=(704, 1408), out_channels=(704, 1408, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(704, 1408, 512, 256, 256, 128)),
)
