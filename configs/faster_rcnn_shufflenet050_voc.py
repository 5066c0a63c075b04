_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(type='menet_mm.ShuffleNetV1', arch='0.5x-g3'), neck=dict(in_channels=[120, 240, 480]))
