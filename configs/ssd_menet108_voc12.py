_base_ = [
    '_base_/models/ssd_menet228.py',
    '_base_/datasets/voc12_ssd320.py',
    '_base_/schedules/ssd_30e.py',
    '_base_/runtime_mmdet.py',
]
# Fine-tuning from the authors' ImageNet weights (docs/weights.md says how to get them) on VOC 2012 train, tested on val.
# Two processes of one thread each train a CPU of two cores faster than one process of two threads:
# `bash tools/dist_train.sh configs/ssd_menet108_voc12.py 2`.
imagenet = dict(type='Pretrained', checkpoint='work_dirs/weights/menet108.pth', prefix='backbone.')
anchor_generator = dict(
    strides=[16, 32, 64, 107, 160, 320],
    min_sizes=[32, 80, 133, 182, 235, 283],
    max_sizes=[80, 133, 182, 235, 283, 320],
)
model = dict(
    backbone=dict(arch='108-8x1-g3', frozen_stages=0, init_cfg=imagenet),
    neck=dict(in_channels=(216, 432), out_channels=(216, 432, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(216, 432, 512, 256, 256, 128), anchor_generator=anchor_generator),
)
