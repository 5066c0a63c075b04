# SSD-MENet108 at 320 px, with anchors for it, from the authors' ImageNet weights (docs/weights.md says how to get them).
_base_ = 'ssd_menet228.py'
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
