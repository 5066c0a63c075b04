"""A network of a few channels. The checkpoints beside this file are of its first epoch, on the stacks that they are named after."""

_base_ = '../../../configs/menet108_in1k.py'
tiny = dict(channels=(12, 24), depths=(1, 1), stem_channels=6, side_channels=2, groups=3)
model = dict(
    backbone=dict(_delete_=True, type='menet_mm.MENet', arch=tiny, out_indices=(1,)),
    head=dict(in_channels=24),
)
