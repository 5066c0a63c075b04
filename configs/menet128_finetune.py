_base_ = 'menet108_finetune.py'
imagenet = dict(checkpoint='work_dirs/weights/menet128.pth')
model = dict(backbone=dict(arch='128-8x1-g4', init_cfg=imagenet), head=dict(in_channels=512))
