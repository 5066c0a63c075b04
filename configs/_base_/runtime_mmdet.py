_base_ = 'mmdet::_base_/default_runtime.py'
# With 'auto' mmengine takes the first of the metric's values, which may be that of a single class.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='pascal_voc/mAP'), logger=dict(interval=50))
custom_hooks = [
    dict(type='menet_mm.InputCheckHook'),
    dict(type='menet_mm.CPUTrainingHook'),
    dict(type='CheckInvalidLossHook', interval=50, priority='VERY_LOW', _scope_='mmdet'),
    # Batch norm statistics differ by rank otherwise; does nothing in a single process.
    dict(type='SyncBuffersHook'),
]
