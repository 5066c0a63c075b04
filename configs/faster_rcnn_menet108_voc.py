_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='108-8x1-g3'), neck=dict(in_channels=[108, 216, 432]))
