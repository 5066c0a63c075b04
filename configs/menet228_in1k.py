_base_ = [
    '_base_/models/menet228_classifier.py',
    '_base_/datasets/imagenet.py',
    '_base_/schedules/in1k_120e.py',
    '_base_/runtime_mmpretrain.py',
]
