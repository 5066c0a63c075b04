from .cpu_training import CPUTrainingHook
from .input_check import InputCheckHook

__all__ = ['CPUTrainingHook', 'InputCheckHook']
