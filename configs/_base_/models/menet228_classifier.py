model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(type='menet_mm.MENet', arch='228-12x1-g3'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead',
        in_channels=912,
        num_classes=1000,
        loss=dict(type='CrossEntropyLoss', loss_weight=1.0),
        topk=(1, 5),
        # The authors' initialization; mmpretrain's default is Normal with std 0.01.
        init_cfg=dict(
            type='Kaiming', layer='Linear', mode='fan_out', nonlinearity='relu', distribution='uniform', bias=0
        ),
    ),
)
