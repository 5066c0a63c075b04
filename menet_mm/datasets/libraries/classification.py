"""mmpretrain's data set of folders or a list, which also reads what people really have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mmpretrain.datasets as theirs

from menet_mm.datasets.formats.files import PICTURES
from menet_mm.datasets.libraries import folders
from menet_mm.registry import DATASETS


@DATASETS.register_module()
class CustomDataset(theirs.CustomDataset):
    """mmpretrain's ``CustomDataset``: hidden folders are no classes, every picture ending counts, and lists are read as meant.

    Raises:
        InputError: naming folder, or file and line.
    """

    def __init__(self, *args: object, extensions: Sequence[str] = PICTURES, **kwargs: object) -> None:
        super().__init__(*args, extensions=extensions, **kwargs)

    def is_valid_file(self, filename: str) -> bool:
        """Whether a file, seen from its class's folder, is a picture, and no part of its path is hidden."""
        return super().is_valid_file(filename) and not any(part.startswith('.') for part in Path(filename).parts)

    def load_data_list(self) -> list[dict]:
        """Read the list or walk through the folders."""
        if not self.with_label:
            return super().load_data_list()
        root, classes = Path(self.img_prefix), self._metainfo.get('classes')
        if self.ann_file:
            pairs = folders.read_list(Path(self.ann_file), classes)
        else:
            names = folders.class_folders(root)
            self.folder_to_idx = {name: label for label, name in enumerate(names)}
            folders.check_names(root, names, classes)
            if classes is None:
                self._metainfo['classes'] = tuple(names)
            pairs, empty = theirs.custom.get_samples(str(root), self.folder_to_idx, self.is_valid_file)
            folders.check_samples(root, pairs, sorted(empty), self.extensions)
        return [dict(img_path=str(root / name), gt_label=label) for name, label in pairs]
