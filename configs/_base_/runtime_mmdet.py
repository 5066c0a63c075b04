_base_ = 'mmdet::_base_/default_runtime.py'
# What a training cannot do without is here, since a config of one's own often replaces custom_hooks.
default_hooks = dict(
    # With 'auto' mmengine takes the first of the metric's values, which may be that of a single class.
    checkpoint=dict(type='menet_mm.CheckpointHook', max_keep_ckpts=2, save_best='pascal_voc/mAP'),
    logger=dict(interval=50),
    sampler_seed=dict(type='menet_mm.SeedHook'),
    resume=dict(type='menet_mm.ResumeHook'),
    within_epoch=dict(type='menet_mm.WithinEpochHook'),
    finite=dict(type='menet_mm.FiniteHook'),
    input_check=dict(type='menet_mm.InputCheckHook'),
    # Batch norm statistics differ by rank otherwise; does nothing in a single process.
    sync_buffers=dict(type='SyncBuffersHook'),
)
custom_hooks = [dict(type='menet_mm.CPUTrainingHook')]
