_base_ = 'ssd_menet108_voc12.py'
imagenet = dict(checkpoint='work_dirs/weights/menet128.pth')
model = dict(
    backbone=dict(arch='128-8x1-g4', init_cfg=imagenet),
    neck=dict(in_channels=(256, 512), out_channels=(256, 512, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(256, 512, 512, 256, 256, 128)),
)
