"""Pictures that stand twice, in a set or in the training and the validation set."""

from __future__ import annotations

import logging
from collections import Counter

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from menet_mm.datasets.doctor.start import MAX_IMAGES, leaf_configs
from menet_mm.errors import InputError


def check_repeats(datasets: dict[str, object]) -> None:
    """Refuse a picture that counts twice in an evaluation; warn of one that is trained on twice, or trained and evaluated on.

    ``datasets`` are built ones by split: train, val, test. Sets of more than ``MAX_IMAGES`` pictures are left out.

    Raises:
        InputError: naming the first picture.
    """
    seen = {split: Counter(_paths(dataset)) for split, dataset in datasets.items()}
    for split, paths in seen.items():
        if not (twice := [path for path, number in paths.items() if number > 1]):
            continue
        said = f'{len(twice)} pictures stand more than once in the {split} set (the first is {twice[0]})'
        if split != 'train':
            raise InputError(
                f'{said} and would count more than once: take them out of {split}_dataloader.dataset.ann_file'
            )
        print_log(f'{said}, and are trained on as often', 'current', logging.WARNING)
    for split in ('val', 'test'):
        if both := seen.get('train', Counter()) & seen.get(split, Counter()):
            print_log(
                f'{len(both)} pictures are in the train set and in the {split} set (the first is {next(iter(both))}): '
                'the results say nothing of other pictures',
                'current',
                logging.WARNING,
            )


def _paths(dataset: object) -> list[str]:
    leaves = [leaf for leaf in leaf_configs(dataset) if isinstance(leaf, BaseDataset) and len(leaf) <= MAX_IMAGES]
    paths = [leaf.get_data_info(index).get('img_path') for leaf in leaves for index in range(len(leaf))]
    return [path for path in paths if isinstance(path, str)]
