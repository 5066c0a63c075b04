_base_ = 'menet108_tiny100.py'
model = dict(backbone=dict(type='menet_mm.MobileNetV1', arch='0.25'), head=dict(in_channels=256))
