"""What ``menet_mm.BoxDataset`` reads, in any format: it checks the labels itself when it is built, before a training starts."""

from menet_mm.datasets.formats import existing

READERS = ('BoxDataset',)


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the folder and the list are there."""
    existing(dataset, '', data_hint, folder=True)
    if dataset.get('ann_file'):
        existing(dataset, dataset['ann_file'], data_hint)
