_base_ = [
    '_base_/models/menet228_classifier.py',
    '_base_/datasets/tiny_imagenet_100.py',
    '_base_/schedules/tiny_15e.py',
    '_base_/runtime_mmpretrain.py',
]
# The networks as they are: of 64 px, a stride of 32 leaves a 2x2 map.
model = dict(backbone=dict(arch='108-8x1-g3'), head=dict(in_channels=432, num_classes=100))
# At this size channels_last is faster on one thread.
custom_hooks = [
    dict(hook, channels_last=True) if hook['type'] == 'menet_mm.CPUTrainingHook' else hook
    for hook in _base_.custom_hooks
]
