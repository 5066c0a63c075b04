from .channels_last import ChannelsLastHook
from .input_check import InputCheckHook

__all__ = ['ChannelsLastHook', 'InputCheckHook']
