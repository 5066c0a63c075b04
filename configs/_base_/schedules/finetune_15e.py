# Fine-tuning a classifier from ImageNet weights.
train_cfg = dict(type='menet_mm.EpochLoop', max_epochs=15, val_interval=3)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    _scope_='mmpretrain',
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=20),
    # mmengine ends it with the last epoch.
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
