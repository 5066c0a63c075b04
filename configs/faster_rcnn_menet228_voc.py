_base_ = [
    '_base_/models/faster_rcnn_menet228_fpn.py',
    '_base_/datasets/voc07_1000x600.py',
    '_base_/schedules/faster_rcnn_24e.py',
    '_base_/runtime_mmdet.py',
]
