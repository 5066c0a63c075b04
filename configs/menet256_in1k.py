_base_ = 'menet228_in1k.py'
model = dict(backbone=dict(arch='256-12x1-g4'), head=dict(in_channels=1024))
