_base_ = [
    '_base_/models/menet228_classifier.py',
    '_base_/datasets/class_folders.py',
    '_base_/schedules/finetune_15e.py',
    '_base_/runtime_mmpretrain.py',
]
# Your own classes, from ImageNet weights: tools/new_project.py writes a config that inherits this one and says what is yours.
# As it stands it is for some hundred pictures of five classes.
imagenet = dict(type='Pretrained', checkpoint='work_dirs/weights/menet108.pth', prefix='backbone.')
# With the authors' initialization, made for 1000 classes, few classes start at a loss of 19 and stay at chance.
few_classes = dict(_delete_=True, type='Normal', layer='Linear', std=0.01)
model = dict(
    backbone=dict(arch='108-8x1-g3', init_cfg=imagenet),
    head=dict(in_channels=432, num_classes=5, topk=(1,), init_cfg=few_classes),
)
# Tests and checkpoints are of averaged weights. The average reaches back over about a tenth of the training.
average = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.03, update_buffers=True)
custom_hooks = [*_base_.custom_hooks, average]
