_base_ = 'menet228_in1k.py'
model = dict(backbone=dict(arch='108-8x1-g3'), head=dict(in_channels=432))
