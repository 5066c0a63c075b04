from .checkpoint import CheckpointHook
from .cpu_training import CPUTrainingHook
from .finite import FiniteHook
from .input_check import InputCheckHook
from .resume import ResumeHook
from .seeds import SeedHook
from .within_epoch import WithinEpochHook

__all__ = [
    'CPUTrainingHook',
    'CheckpointHook',
    'FiniteHook',
    'InputCheckHook',
    'ResumeHook',
    'SeedHook',
    'WithinEpochHook',
]
