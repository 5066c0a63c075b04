_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='256-12x1-g4'), neck=dict(in_channels=[256, 512, 1024]))
