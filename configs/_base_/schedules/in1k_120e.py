# The authors' recipe for ILSVRC 2012: steps after 30, 60 and 90 of 120 epochs.
train_cfg = dict(type='menet_mm.EpochLoop', max_epochs=120, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    _scope_='mmpretrain',
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=4e-5, nesterov=True),
)
param_scheduler = dict(
    type='menet_mm.RelativeMultiStepLR', by_epoch=True, fractions=[30 / 120, 60 / 120, 90 / 120], gamma=0.1
)
auto_scale_lr = dict(enable=False, base_batch_size=256)
