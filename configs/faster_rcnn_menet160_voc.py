_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='160-8x1-g8'), neck=dict(in_channels=[160, 320, 640]))
