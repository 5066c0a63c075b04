_base_ = 'ssd_menet228_voc.py'
model = dict(
    backbone=dict(arch='456-24x1-g3'),
    neck=dict(in_channels=(912, 1824), out_channels=(912, 1824, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(912, 1824, 512, 256, 256, 128)),
)
