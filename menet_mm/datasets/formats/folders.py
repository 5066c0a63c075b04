"""Pictures to classify: a text file of names and labels, or a folder for each class."""

import os

from menet_mm.datasets.formats import existing

READERS = ('CustomDataset',)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the list of pictures is there; without a list, the folder of the classes' folders."""
    ann_file, prefix = dataset.get('ann_file'), dataset.get('data_prefix') or dataset.get('split') or ''
    part = ann_file or (prefix if isinstance(prefix, str) else prefix.get('img_path', ''))
    existing(dataset, os.path.expanduser(part), data_hint, folder=not ann_file)
