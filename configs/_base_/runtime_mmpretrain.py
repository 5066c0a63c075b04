_base_ = 'mmpretrain::_base_/default_runtime.py'
# What a training cannot do without is here, since a config of one's own often replaces custom_hooks.
default_hooks = dict(
    checkpoint=dict(type='menet_mm.CheckpointHook', max_keep_ckpts=2, save_best='accuracy/top1'),
    sampler_seed=dict(type='menet_mm.SeedHook'),
    resume=dict(type='menet_mm.ResumeHook'),
    within_epoch=dict(type='menet_mm.WithinEpochHook'),
    finite=dict(type='menet_mm.FiniteHook'),
    input_check=dict(type='menet_mm.InputCheckHook'),
    # Batch norm statistics differ by rank otherwise; does nothing in a single process.
    sync_buffers=dict(type='SyncBuffersHook'),
)
custom_hooks = [dict(type='menet_mm.CPUTrainingHook')]
