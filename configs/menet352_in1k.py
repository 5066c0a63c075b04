_base_ = 'menet228_in1k.py'
model = dict(backbone=dict(arch='352-12x1-g8'), head=dict(in_channels=1408))
