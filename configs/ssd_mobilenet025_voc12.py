_base_ = 'ssd_menet108_voc12.py'
imagenet = dict(checkpoint='work_dirs/weights/mobilenet025.pth')
model = dict(
    backbone=dict(type='menet_mm.MobileNetV1', arch='0.25', init_cfg=imagenet),
    neck=dict(in_channels=(128, 256), out_channels=(128, 256, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(128, 256, 512, 256, 256, 128)),
)
