_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(type='menet_mm.MobileNetV1', arch='0.25'), neck=dict(in_channels=[64, 128, 256]))
