_base_ = 'ssd_menet108_s8_finetune.py'
imagenet = dict(checkpoint='work_dirs/weights/menet128.pth')
channels = (128, 256, 512, 512, 256, 256, 128)
model = dict(
    backbone=dict(arch='128-8x1-g4', init_cfg=imagenet),
    neck=dict(in_channels=channels[:3], out_channels=channels),
    bbox_head=dict(in_channels=channels),
)
