"""mmdet's data sets, which also read what labelling tools really write, and say what they leave out.

``tools/`` put them in the place of mmdet's own. Of data that mmdet reads they give the same.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

import mmdet.datasets as theirs
from mmdet.datasets.api_wrappers import COCO
from mmengine.logging import print_log

from menet_mm.datasets.formats.files import PICTURES, read_header
from menet_mm.datasets.libraries import Notes, coco, voc
from menet_mm.errors import InputError
from menet_mm.registry import DATASETS

#: Of larger sets the headers of pictures are not read, which takes seconds for this many.
MAX_HEADERS = 25_000


class _Careful:
    """Looks at the headers of the pictures, says how many ``filter_cfg`` leaves out, and refuses a set of which nothing is left."""

    notes = Notes()

    def filter_data(self) -> list[dict]:
        kept, settings = super().filter_data(), self.filter_cfg or {}
        if settings.get('filter_empty_gt') and not self.test_mode:
            # mmdet's CocoDataset counts annotations that it has left out.
            kept = [info for info in kept if info['instances']]
        reasons, ids = Counter(), {info['img_id'] for info in kept}
        for info in self.data_list:
            if info['img_id'] not in ids:
                small = min(info['width'], info['height']) < settings.get('min_size', 0)
                reasons[f'under {settings.get("min_size")} px' if small else 'without an object of the classes'] += 1
        why = ', '.join(f'{number} {reason}' for reason, number in reasons.items())
        if reasons:
            print_log(
                f'{sum(reasons.values())} of {len(self.data_list)} pictures of {self.ann_file} are left out: {why}',
                'current',
            )
        if not kept:
            reasons = '; '.join([why or 'it has none', *self.notes.lines('in it')])
            raise InputError(
                f'no picture of {self.ann_file} is left ({reasons}): correct that, metainfo.classes or filter_cfg'
            )
        return kept

    def set_sizes(self, infos: list[dict], sizes: list, notes: Notes) -> None:
        """Give each picture the size that it is decoded to.

        Raises:
            InputError: if pictures that EXIF turns are decoded otherwise than their boxes were drawn.
        """
        few, turned = len(infos) <= MAX_HEADERS, []
        steps = getattr(self.pipeline, 'transforms', [])
        ignored = any('ignore_orientation' in str(getattr(step, 'color_type', '')) for step in steps)
        pairs = list(zip(infos, sizes, strict=True))
        unsure = [info['img_path'] for info, given in pairs if few or not given or min(given) <= 0]
        with ThreadPoolExecutor(4) as pool:
            headers = dict(zip(unsure, pool.map(read_header, map(Path, unsure)), strict=True))
        for info, given in pairs:
            header, path = headers.get(info['img_path']), info['img_path']
            if header is None:  # it is named when all are decoded
                info['width'], info['height'] = given if given and min(given) > 0 else (1, 1)
                continue
            size, other = header.shown, (header.width, header.height)
            size, other = (other, size) if ignored else (size, other)
            info['width'], info['height'] = size
            if given == other != size:
                turned.append(path)
            elif header.turn > 1 and (given != size or size == other):
                notes.add('pictures are turned by EXIF, and their annotation does not say whether boxes are, too', path)
            elif given and given != size:
                said = f'{info.get("xml_path", path)}: {given[0]} x {given[1]} instead of {size[0]} x {size[1]}'
                notes.add('annotations give another size than the picture has, which is taken', said)
        if turned:
            boxes = 'their boxes are, but the pipeline ignores it' if ignored else 'their boxes are not'
            raise InputError(
                f'{len(turned)} pictures of {self.ann_file} are turned by EXIF, and {boxes} '
                f"(the first: {turned[0]}): LoadImageFromFile turns pictures unless it has color_type='color_ignore_orientation'; "
                'if not all are alike, turn the pixels and remove the EXIF tag, or use menet_mm.BoxDataset'
            )


@DATASETS.register_module()
class XMLDataset(_Careful, theirs.XMLDataset):
    """mmdet's ``XMLDataset`` for lists, names, endings of pictures, encodings and sizes as they are found.

    Boxes without an area are left out of training, and so are pictures that have no other ones.

    Raises:
        InputError: naming the file, if nothing else helps.
    """

    def load_data_list(self) -> list[dict]:
        """Read the list and the XML files; the size is that of the picture, whatever the annotation says."""
        if self.backend_args or '://' in f'{self.ann_file} {self.sub_data_root}':
            return super().load_data_list()  # not of this machine
        folder, pictures = Path(self.sub_data_root, self.ann_subdir), Path(self.sub_data_root, self.img_subdir)
        self.cat2label = {name: label for label, name in enumerate(self._metainfo['classes'])}
        unknown, infos, sizes = Counter(), [], []
        self.notes = notes = Notes()
        endings: dict[str, Path] = {}
        for name, path, _ in voc.read_ids(Path(self.ann_file), folder, notes):
            found = voc.read_annotation(path, self.cat2label)
            picture = pictures / f'{name}.jpg'
            if not picture.is_file():
                endings = endings or {p.stem: p for p in sorted(pictures.iterdir()) if p.suffix.lower() in PICTURES}
                picture = endings.get(Path(name).name, picture)
            unknown.update(written.strip() for written in found.names if written.strip() not in self.cat2label)
            for written in found.names:
                if written != written.strip():
                    notes.add('names of classes have blanks around them, which are ignored', f'{written!r} in {path}')
            instances = self._parse_instance_info(found.root)
            infos.append(dict(img_path=str(picture), img_id=name, xml_path=str(path), instances=instances))
            infos[-1]['instances'] = self._without_defects(found, instances, path, notes)
            sizes.append(found.size)
        self.set_sizes(infos, sizes, notes)
        notes.log(self.ann_file)
        log_unknown(unknown, self.cat2label, self.ann_file)
        return infos

    def _without_defects(self, found: voc.Annotation, instances: list[dict], path: Path, notes: Notes) -> list[dict]:
        kept = []
        for (_, box, _), instance in zip(found.objects, instances, strict=True):
            x1, y1, x2, y2 = instance['bbox']
            if min(box) >= 0 and max(box) <= 1 and any(value % 1 for value in box):
                notes.add('boxes look like parts of the side, of 0 to 1, instead of pixels, and are left out', path)
                continue
            if x2 <= x1 or y2 <= y1:
                what = 'stay in the evaluation, where nothing can find them' if self.test_mode else 'are left out'
                notes.add(
                    f'boxes have no area (the second corner is not right of and below the first) and {what}', path
                )
                if not self.test_mode:
                    continue
            kept.append(instance)
        return kept


@DATASETS.register_module()
class VOCDataset(XMLDataset, theirs.VOCDataset):
    """mmdet's ``VOCDataset``, read in the same way."""


class CocoFile(COCO):
    """A COCO file, read by :func:`menet_mm.datasets.libraries.coco.read`; categories come in the order that is asked for."""

    def __init__(self, path: str, notes: Notes, folder: str | None = None) -> None:
        super().__init__()
        self.dataset = coco.read(Path(path), notes, folder)
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def get_cat_ids(self, cat_names: list[str] = (), sup_names: list[str] = (), cat_ids: list[int] = ()) -> list[int]:
        """Numbers of categories; of names, in the order of these."""
        found = super().get_cat_ids(cat_names, sup_names, cat_ids)
        place = {name: number for number, name in enumerate(cat_names)}
        return sorted(found, key=lambda number: place[self.cats[number]['name']]) if place else found


@DATASETS.register_module()
class CocoDataset(_Careful, theirs.CocoDataset):
    """mmdet's ``CocoDataset``: the config's order of classes counts, not that of the file, and what is missing is made up.

    Raises:
        InputError: naming the file, and the key and the id that cannot be made up.
    """

    def load_data_list(self) -> list[dict]:
        """Read the file; the size is that of the picture, whatever the annotation says."""
        infos, notes = super().load_data_list(), Notes()
        self.set_sizes(infos, [(info['width'], info['height']) for info in infos], notes)
        notes.log(self.ann_file)
        return infos

    def COCOAPI(self, path: str) -> CocoFile:
        """Open the file."""
        self.notes = notes = Notes()
        # mmdet fails without this prefix.
        folder = self.data_prefix.setdefault('img', self.data_prefix.get('img_path') or self.data_root or '')
        api = CocoFile(path, notes, folder)
        notes.log(self.ann_file)
        names = Counter(api.cats[annotation['category_id']]['name'] for annotation in api.dataset['annotations'])
        classes = self.metainfo['classes']
        log_unknown(
            Counter({name: number for name, number in names.items() if name not in classes}), classes, self.ann_file
        )
        return api


def log_unknown(unknown: Counter[str], classes: list[str] | dict[str, int], source: str) -> None:
    """Say which objects are left out because the config does not name their class, and which name may be meant."""
    if not unknown:
        return
    lower = {str(name).lower(): name for name in classes}
    parts = []
    for name, number in unknown.most_common(8):
        near = get_close_matches(name.lower(), lower, 1, cutoff=0.8)
        parts.append(f'{number} {name!r}' + (f' ({lower[near[0]]!r} is meant?)' if near else ''))
    more = f', and {len(unknown) - 8} names more' if len(unknown) > 8 else ''
    print_log(
        f'{source}: {sum(unknown.values())} objects are of classes that the config does not name, and are left out: '
        f'{", ".join(parts)}{more}',
        'current',
        30,  # logging.WARNING
    )
