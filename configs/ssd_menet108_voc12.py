# Fine-tuning from the authors' ImageNet weights on VOC 2012 train, tested on val.
# Two processes of one thread each train a CPU of two cores faster than one process of two threads:
# `bash tools/dist_train.sh configs/ssd_menet108_voc12.py 2`.
_base_ = [
    '_base_/models/ssd_menet108_320px.py',
    '_base_/datasets/voc12_ssd320.py',
    '_base_/schedules/ssd_30e.py',
    '_base_/runtime_mmdet.py',
]
