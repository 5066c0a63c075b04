_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='352-12x1-g8'), neck=dict(in_channels=[352, 704, 1408]))
