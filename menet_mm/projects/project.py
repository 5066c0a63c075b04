"""Writing a project: lists of pictures, a config that inherits ours, a README with the commands that follow."""

from __future__ import annotations

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from rich.progress import track

from menet_mm.checkpoints import read_checkpoint
from menet_mm.datasets.formats.files import as_labelled, read_header
from menet_mm.datasets.labels import Labels, spelt_alike
from menet_mm.datasets.reading import read_labels
from menet_mm.datasets.splits import choose_splits, group_copies
from menet_mm.errors import InputError
from menet_mm.projects.recipe import Recipe, fit_recipe
from menet_mm.projects.text import README, Content, classifier_config, detector_config
from menet_mm.utils.config import find_config, read_config
from menet_mm.utils.files import atomic_path, write_text
from menet_mm.utils.pictures import find_defect

#: If anchors miss more than this share of the training boxes, fitted ones too, a finer map is taken.
TOO_MANY = 0.25


@dataclass
class Project:
    """What :func:`make_project` wrote.

    Attributes:
        config: its config file.
        checkpoint: the last checkpoint, as a shell writes it in the folder that the training is started in.
        lines: what to tell the user.
    """

    config: Path
    checkpoint: str
    lines: list[str]


def make_project(
    data: Path,
    out: Path,
    arch: str = 'menet128',
    format: str = 'auto',
    val: float = 0.2,
    weights: Path | None = None,
    seed: int = 0,
    rename: dict[str, str] | None = None,
) -> Project:
    """Write a project for a folder of labelled pictures, which stay where they are.

    Args:
        data: folder of pictures and labels.
        out: folder to write, which must be new or empty.
        arch: a network for which there are configs ``<arch>_finetune`` and ``ssd_<arch>_finetune``.
        format: one of ``reading.FORMATS``, or ``auto``.
        val: part of the pictures to validate on, if the data has no splits.
        weights: a converted checkpoint of the network; without, it starts from random numbers.
        seed: of the split.
        rename: other names for classes of a detector's labels; several may become one.

    Raises:
        InputError: if an argument or the data cannot be used.
    """
    if not 0 < val < 1:
        raise InputError(f'--val must lie between 0 and 1, but got {val:g}')
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f'{out} exists already: choose a new folder with --out')
    if re.search(r"['\"\\]", str(out.resolve())):
        raise InputError(f'--out {out} must have no quotes or backslashes in its path')
    if weights:
        _check_weights(weights, arch)
    labels, format = _read(data, format, rename)
    base = find_config(f'{arch}_finetune' if format == 'folders' else f'ssd_{arch}_finetune').stem
    usable = check_pictures(labels)
    splits, origin = choose_splits(labels, val, seed)
    splits = {split: [name for name in ids if name in usable] for split, ids in splits.items()}
    lines = [f'{format}: {len(labels.pictures)} pictures, {len(labels.classes)} classes; {origin}', *labels.said()]
    lines += _describe(labels, splits)
    if len(splits['train']) < 2:
        raise InputError(f'{len(splits["train"])} pictures are too few to train on: label more')
    task = 'classifier' if format == 'folders' else 'detector'
    recipe = fit_recipe(len(splits['train']), task, torch.cuda.is_available())
    if not weights:
        lines.append('without --weights the network needs many more pictures: docs/weights.md says where to get some')
    name = re.sub(r'\W+', '_', out.resolve().name)
    with atomic_path(out, '--out') as folder:
        folder.mkdir()
        _write_lists(folder, labels, splits, task)
        one_test = splits['test'] == splits['val']
        content = Content(labels, format, base, recipe, weights and weights.resolve(), one_test, rename)
        if task == 'classifier':
            write_text(folder / f'{name}.py', classifier_config(content))
        else:
            lines += _write_detector(folder / f'{name}.py', content)
        checkpoint = f'work_dirs/{name}/$(cat work_dirs/{name}/last_checkpoint)'
        write_text(folder / 'README.md', README.format(name=name, title=out.name, checkpoint=checkpoint, origin=origin))
    return Project(out / f'{name}.py', checkpoint, [*lines, _say_recipe(recipe)])


def _read(data: Path, format: str, rename: dict[str, str] | None) -> tuple[Labels, str]:
    labels, format = read_labels(data.resolve(), format, rename)
    if rename and format == 'folders':
        raise InputError('--rename is for labels of boxes: give the folders of pictures other names')
    return labels.check(), format


def _check_weights(path: Path, arch: str) -> None:
    checkpoint = read_checkpoint(str(path))
    if not any(key.startswith('backbone.') for key in checkpoint.get('state_dict', checkpoint)):
        raise InputError(
            f'{path} has no weights of a backbone: convert it with tools/convert_checkpoint.py, and give the result'
        )
    variant = checkpoint.get('meta', {}).get('variant', '')  # written by tools/convert_checkpoint.py
    if variant and f'menet{variant.partition("-")[0]}' != arch:
        raise InputError(f'{path} is of {variant}, not of {arch}: give --arch, or other --weights, so that both agree')


def check_pictures(labels: Labels) -> set[str]:
    """Decode all pictures, and note what is wrong with them or their size; returns the ids of those that can be used."""
    usable = set()
    with ThreadPoolExecutor(max_workers=4) as pool:
        defects = pool.map(lambda picture: find_defect(str(picture.path)), labels.pictures.values())
        items = zip(labels.pictures.items(), defects, strict=True)
        for (name, picture), defect in track(
            items, 'Reading pictures', len(labels.pictures), disable=len(labels.pictures) < 500
        ):
            header = None if defect else read_header(picture.path)
            if header is None:
                labels.note('pictures cannot be decoded, and are left out of the lists', f'{picture.path}: {defect}')
                continue
            usable.add(name)
            if picture.label is None and (note := as_labelled(picture, header)[2]):
                labels.note(note, picture.path)
    return usable


def _describe(labels: Labels, splits: dict[str, list[str]]) -> list[str]:
    """One line for two spellings, one a split with its objects by class, and one for each split that lacks classes."""
    lines = [
        f'classes {other!r} and {name!r} differ in spelling alone: --rename {shlex.quote(f"{other}={name}")} makes them one'
        for other, name in spelt_alike(labels.classes, labels.counts()).items()
    ]
    for split, ids in splits.items():
        if split == 'test' and ids == splits['val']:
            lines.append('test: the same pictures as val; the best epoch is chosen on them, so its figures flatter')
            continue
        counts = labels.counts(ids)
        lines.append(
            f'{split}: {len(ids)} pictures; {", ".join(f"{name} {number}" for name, number in counts.most_common())}'
        )
        if missing := [name for name in labels.classes if name not in counts]:
            lines.append(f'{split} has none of {len(missing)} classes: {", ".join(missing)}')
    train, held_out = set(splits['train']), {*splits['val'], *splits['test']}
    if both := train & held_out:
        lines.append(f'{len(both)} pictures are trained on and tested on (the first: {min(both)})')
    groups = [set(group) for group in group_copies(labels) if len(group) > 1]
    if groups:
        more, first = sum(map(len, groups)) - len(groups), min(min(group) for group in groups)
        lines.append(f'pictures are nearly the same as another one: {more} (the first: {first})')
    if near := {name for group in groups if group & train for name in group & held_out} - both:
        lines.append(
            f'{len(near)} pictures are tested on, of which nearly the same one is trained on (the first: {min(near)})'
        )
    return lines


def _write_lists(folder: Path, labels: Labels, splits: dict[str, list[str]], task: str) -> None:
    for split, ids in splits.items():
        if split == 'test' and ids == splits['val']:
            continue
        number = {name: label for label, name in enumerate(labels.classes)}
        lines = [f'{name} {number[labels.pictures[name].label]}' if task == 'classifier' else name for name in ids]
        write_text(folder / f'{split}.txt', ''.join(f'{line}\n' for line in lines))


def _write_detector(path: Path, content: Content) -> list[str]:
    """Write a detector's config with fitted anchors, and with a finer map if its boxes need one; returns what to say."""
    write_text(path, detector_config(content))
    anchors, missed, said = _fit(path)
    if missed > TOO_MANY:
        content = replace(content, base=content.base.replace('_finetune', '_s8_finetune'))
        write_text(path, detector_config(content))
        anchors, _, more = _fit(path)
        said += ['these boxes are small: a map of stride 8 is added for them', *more]
    write_text(path, detector_config(content, anchors))
    return said


def _fit(config: Path) -> tuple[list[str], float, list[str]]:
    """Fit anchors to the data of a config.

    Returns the config's lines for them, none if they find no more, the share of training boxes that none reaches, and what
    to say.
    """
    from menet_mm.datasets.anchors import fit_anchors

    logger = MMLogger.get_instance('new_project')
    logger.setLevel('ERROR')  # what the data set says has been said
    fit = fit_anchors(read_config(config))
    _, before, after = fit.shares['training']
    said = f'anchors: none fits {before:.0%} of the training boxes'
    if after >= before:
        return [], before, [said]
    return fit.to_generator(), after, [f'{said}; of anchors fitted to them, none fits {after:.0%}']


def _say_recipe(recipe: Recipe) -> str:
    return f'recipe: batch {recipe.batch}, {recipe.epochs} epochs, warm-up of {recipe.warm_up} iterations'
