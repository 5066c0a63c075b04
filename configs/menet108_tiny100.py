_base_ = [
    '_base_/models/menet228_classifier.py',
    '_base_/datasets/tiny_imagenet_100.py',
    '_base_/schedules/tiny_15e.py',
    '_base_/runtime_mmpretrain.py',
]
# The networks as they are: of 64 px, a stride of 32 leaves a 2x2 map.
model = dict(backbone=dict(arch='108-8x1-g3'), head=dict(in_channels=432, num_classes=100))
# Faster on one thread at this size; docs/deployment.md has figures.
custom_hooks = [*_base_.custom_hooks, dict(type='menet_mm.ChannelsLastHook')]
