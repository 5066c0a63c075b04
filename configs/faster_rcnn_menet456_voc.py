_base_ = 'faster_rcnn_menet228_voc.py'
model = dict(backbone=dict(arch='456-24x1-g3'), neck=dict(in_channels=[456, 912, 1824]))
