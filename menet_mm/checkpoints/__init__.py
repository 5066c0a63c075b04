"""Checkpoints: reading files of unknown origin, and converting other people's into MMPretrain's form."""

from .convert import convert, write_checkpoint
from .load import check_fit, compare, fetch, get_state, read_checkpoint, tensors_only, use_tensors_only

__all__ = ['convert', 'write_checkpoint']
__all__ += ['check_fit', 'compare', 'fetch', 'get_state', 'read_checkpoint', 'tensors_only', 'use_tensors_only']
