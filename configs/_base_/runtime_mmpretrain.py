_base_ = 'mmpretrain::_base_/default_runtime.py'
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='accuracy/top1'))
custom_hooks = [
    dict(type='menet_mm.InputCheckHook'),
    dict(type='menet_mm.CPUTrainingHook'),
    # Batch norm statistics differ by rank otherwise; does nothing in a single process.
    dict(type='SyncBuffersHook'),
]
