_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='348-12x1-g3'), neck=dict(in_channels=[348, 696, 1392]))
