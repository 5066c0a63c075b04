_base_ = 'menet228_in1k.py'
model = dict(backbone=dict(arch='348-12x1-g3'), head=dict(in_channels=1392))
