# ILSVRC 2012 with the authors' recipe: "aggressive" crops of 36 to 100 % of the area, PIL's bilinear resizing.
data_root = 'data/imagenet'
data_hint = 'see docs/training.md for its layout'
data_preprocessor = dict(
    _scope_='mmpretrain',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.36, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

collate_fn = dict(type='menet_mm.default_collate')
loader = dict(num_workers=4, pin_memory=True, persistent_workers=True, collate_fn=collate_fn)
train_dataloader = dict(
    batch_size=256,
    drop_last=True,
    sampler=dict(_scope_='mmpretrain', type='DefaultSampler', shuffle=True),
    dataset=dict(_scope_='mmpretrain', type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline),
    **loader,
)
val_dataloader = dict(
    batch_size=64,
    sampler=dict(_scope_='mmpretrain', type='DefaultSampler', shuffle=False),
    dataset=dict(_scope_='mmpretrain', type='ImageNet', data_root=data_root, split='val', pipeline=test_pipeline),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(_scope_='mmpretrain', type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
