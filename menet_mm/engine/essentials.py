"""What every training of ``tools/train.py`` has, also under a config that inherits nothing of ours."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

#: Hooks by their name in ``default_hooks``, as in ``configs/_base_/runtime_*.py``.
HOOKS = dict(
    checkpoint='CheckpointHook',
    sampler_seed='SeedHook',
    resume='ResumeHook',
    within_epoch='WithinEpochHook',
    finite='FiniteHook',
    input_check='InputCheckHook',
)
#: What ours stand for; a class of somebody else's stays.
REPLACED = (None, 'CheckpointHook', 'DistSamplerSeedHook', 'EpochBasedTrainLoop')


def add_essentials(cfg: Config) -> None:
    """Add our hooks and our training loop to a config, unless it has others, or None, in their place."""
    hooks = cfg.setdefault('default_hooks', ConfigDict())
    for name, kind in HOOKS.items():
        hook = hooks.get(name, ConfigDict(interval=1) if name == 'checkpoint' else ConfigDict())
        if hook is not None and hook.get('type') in REPLACED:
            hooks[name] = ConfigDict(hook, type=f'menet_mm.{kind}')
    loop = cfg.get('train_cfg')
    if loop and loop.get('type') in REPLACED and loop.get('by_epoch', True):
        loop.pop('by_epoch', None)
        loop.type = 'menet_mm.EpochLoop'
