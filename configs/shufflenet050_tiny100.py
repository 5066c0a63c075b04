_base_ = 'menet108_tiny100.py'
model = dict(backbone=dict(type='menet_mm.ShuffleNetV1', arch='0.5x-g3'), head=dict(in_channels=480))
