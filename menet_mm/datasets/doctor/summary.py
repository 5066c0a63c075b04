"""What a built data set holds, in one line."""

from __future__ import annotations

from collections import Counter

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from menet_mm.datasets.doctor.start import leaf_configs

#: Of larger sets only the number of pictures is said: counting takes about a second for each 100,000.
MAX_COUNTED = 300_000
MAX_NAMED = 20


def log_summary(dataset: object, split: str) -> None:
    """Log one line of pictures, and of objects or pictures by class; warn if nothing can be learnt or measured."""
    leaves = [leaf for leaf in leaf_configs(dataset) if isinstance(leaf, BaseDataset)]
    number = sum(map(len, leaves))
    classes = next((leaf.metainfo['classes'] for leaf in leaves if leaf.metainfo.get('classes')), None)
    if classes is None or not 0 < number <= MAX_COUNTED:
        return
    counts, ignored, detection = Counter(), Counter(), False
    for info in (leaf.get_data_info(index) for leaf in leaves for index in range(len(leaf))):
        if 'instances' in info:
            detection = True
            for instance in info['instances']:
                (ignored if instance.get('ignore_flag') else counts)[instance['bbox_label']] += 1
        elif isinstance(info.get('gt_label'), int):
            counts[info['gt_label']] += 1
    if not detection and not counts:
        return  # neither boxes nor one class for each picture
    total = sum(counts.values()) + sum(ignored.values())
    what = f'{number} pictures' + (f', {total} objects' if detection else '')
    found = [label for label in range(len(classes)) if counts[label] or ignored[label]]
    parts = [f'{classes[n]} {counts[n]}' + (f' (and {ignored[n]} difficult)' if ignored[n] else '') for n in found]
    more = [f'{len(parts) - MAX_NAMED} classes more'] if len(parts) > MAX_NAMED else []
    print_log(f'{split}: {what}: {", ".join(parts[:MAX_NAMED] + more) or "none"}', 'current')
    _warn(split, [str(classes[n]) for n in range(len(classes)) if n not in found], bool(counts), bool(total))


def _warn(split: str, absent: list[str], usable: bool, some: bool) -> None:
    if not some:
        measured = 'nothing can be learnt' if split == 'train' else 'mAP says nothing of it'
        print_log(f'{split}: there are no objects, so {measured}', 'current', 30)
    elif not usable:
        print_log(
            f'{split}: all objects are difficult or crowds, and so they count neither in training nor in tests',
            'current',
            30,
        )
    elif absent:
        more = f', and {len(absent) - MAX_NAMED} more' if len(absent) > MAX_NAMED else ''
        print_log(f'{split}: nothing is of {", ".join(absent[:MAX_NAMED])}{more}', 'current', 30)
