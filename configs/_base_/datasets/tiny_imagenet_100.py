# 100 classes of Tiny ImageNet, 300 + 50 pictures of 64 px each, a folder for each class.
data_root = 'data/tiny_imagenet_100'
data_hint = 'see docs/studies.md for its layout'
data_preprocessor = dict(
    _scope_='mmpretrain',
    num_classes=100,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=64, crop_ratio_range=(0.36, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]

loader = dict(num_workers=1, persistent_workers=True, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    batch_size=128,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        _scope_='mmpretrain', type='CustomDataset', data_root=data_root, data_prefix='train', pipeline=train_pipeline
    ),
    **loader,
)
val_dataloader = dict(
    batch_size=250,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        _scope_='mmpretrain', type='CustomDataset', data_root=data_root, data_prefix='val', pipeline=test_pipeline
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(_scope_='mmpretrain', type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
