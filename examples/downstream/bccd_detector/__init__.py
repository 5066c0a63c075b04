"""A blood cell detector: this project's own data set; everything else is inherited from menet_mm."""

from .dataset import BCCDDataset

__all__ = ['BCCDDataset']
