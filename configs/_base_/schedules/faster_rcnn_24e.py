# For one GPU: mmdet's 2x schedule with its learning rate scaled to a batch of 8.
train_cfg = dict(type='menet_mm.EpochLoop', max_epochs=24, val_interval=4)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    _scope_='mmdet',
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    # After 16 and 22 of 24 epochs, as mmdet's; a training of another length has its steps at the same parts.
    dict(type='menet_mm.RelativeMultiStepLR', by_epoch=True, fractions=[16 / 24, 22 / 24], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=8)
