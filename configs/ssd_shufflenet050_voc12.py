_base_ = 'ssd_menet108_voc12.py'
imagenet = dict(checkpoint='work_dirs/weights/shufflenet050.pth')
model = dict(
    backbone=dict(type='menet_mm.ShuffleNetV1', arch='0.5x-g3', init_cfg=imagenet),
    neck=dict(in_channels=(240, 480), out_channels=(240, 480, 512, 256, 256, 128)),
    bbox_head=dict(in_channels=(240, 480, 512, 256, 256, 128)),
)
