# The ME operations in mmdet's ResNet-50, as a classifier.
_base_ = 'menet228_in1k.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='mmdet.ResNet',
        depth=50,
        out_indices=(3,),
        norm_eval=False,
        plugins=[dict(cfg=dict(type='menet_mm.MEPlugin', side_channels=12), position='after_conv2')],
    ),
    head=dict(in_channels=2048),
)
