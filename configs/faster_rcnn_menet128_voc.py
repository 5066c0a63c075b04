_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='128-8x1-g4'), neck=dict(in_channels=[128, 256, 512]))
