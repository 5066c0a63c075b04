# The optimizer of the authors' ILSVRC recipe on a short cosine schedule.
train_cfg = dict(type='menet_mm.EpochLoop', max_epochs=15, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    _scope_='mmpretrain',
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=4e-5, nesterov=True),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=937),
    # mmengine ends it with the last epoch.
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
