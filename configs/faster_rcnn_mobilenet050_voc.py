_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(type='menet_mm.MobileNetV1', arch='0.5'), neck=dict(in_channels=[128, 256, 512]))
