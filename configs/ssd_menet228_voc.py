_base_ = [
    '_base_/models/ssd_menet228.py',
    '_base_/datasets/voc07_ssd300.py',
    '_base_/schedules/ssd_240e.py',
    '_base_/runtime_mmdet.py',
]
