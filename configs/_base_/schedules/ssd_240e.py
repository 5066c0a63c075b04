# For one GPU. SGD: on the quickstart's data, from the authors' initialization, Adam did not leave the loss of a constant
# predictor in the 200 to 400 iterations that were tried at 3e-4 to 3e-3, and SGD did.
train_cfg = dict(type='menet_mm.EpochLoop', max_epochs=240, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    _scope_='mmdet',
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=5e-4),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    # mmengine ends it with the last epoch.
    dict(type='CosineAnnealingLR', eta_min=1e-4, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(enable=False, base_batch_size=32)
