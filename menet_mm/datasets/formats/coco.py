"""COCO: one JSON file for all pictures."""

import json

from menet_mm.datasets.formats import class_names, existing
from menet_mm.errors import InputError

READERS = ('CocoDataset', 'LVISV05Dataset', 'LVISV1Dataset', 'Objects365V1Dataset', 'Objects365V2Dataset')


def check(dataset: dict, data_hint: str | None = None) -> None:
    """Check that the file is there, has COCO's lists and knows the config's classes."""
    path = existing(dataset, dataset.get('ann_file', ''), data_hint)
    try:
        content = json.loads(path.read_bytes())
        names = {category['name'] for category in content['categories']}
        lists = content['images'], content.get('annotations', [])  # COCO's test pictures have no annotations
        if not all(isinstance(part, list) for part in lists):
            raise TypeError('images and annotations must be lists')
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f'{path} is not valid COCO JSON ({type(error).__name__}: {error}); export it again') from None
    if missing := [name for name in class_names(dataset) if name not in names]:
        known, advice = ', '.join(sorted(map(str, names))), 'set metainfo.classes to names that occur in the data'
        raise InputError(f'{path} has no category {", ".join(missing)}; it has {known}: {advice}')
