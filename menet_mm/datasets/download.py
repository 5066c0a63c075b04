"""Downloads: weights, and PASCAL VOC from its official place."""

import sys
from pathlib import Path

from pooch import HTTPDownloader, file_hash
from requests import RequestException
from torchvision.datasets.voc import DATASET_YEAR_DICT

from menet_mm.datasets.archives import unpack
from menet_mm.errors import InputError
from menet_mm.utils.files import atomic_path

#: Archives of each year: address, file name and MD5 as torchvision knows them, the split that each brings, and its pictures.
ARCHIVES = {'2012': [dict(DATASET_YEAR_DICT['2012'], split='trainval', pictures=11540)]}
ARCHIVES['2007'] = [dict(DATASET_YEAR_DICT['2007'], split='trainval', pictures=5011)]
ARCHIVES['2007'] += [dict(DATASET_YEAR_DICT['2007-test'], split='test', pictures=4952)]


def download(url: str, path: Path, md5: str | None = None) -> None:
    """Fetch a file unless it is there. It appears complete, or ``InputError`` is raised and it does not appear.

    With an MD5, the next call goes on where one stopped, in ``<path>.partial``; without, several processes may fetch a file.
    """
    if path.is_file() and (md5 is None or file_hash(path, 'md5') == md5):
        return
    if md5 is None:
        with atomic_path(path) as partial:
            _append(url, partial)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    _append(url, partial)
    if file_hash(partial, 'md5') != md5:
        partial.unlink()
        raise InputError(f'{url} is not the file that was expected (its MD5 is not {md5}); run the same command again')
    partial.replace(path)


def _append(url: str, partial: Path) -> None:
    """Fetch what is missing of a file, with progress."""
    with partial.open('ab') as file:
        ranges = {'Range': f'bytes={file.tell()}-'}
        fetch = HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=1 << 20, timeout=30, headers=ranges)
        try:
            fetch(url, file, None)
        except RequestException as error:
            if (status := getattr(error.response, 'status_code', None)) == 416:  # nothing is left to send
                return
            if not file.tell():
                partial.unlink()
            reason = f'status {status}' if status else type(error).__name__
            advice = 'check the address' if status and status < 500 else 'run the same command again to go on'
            raise InputError(f'{url} cannot be fetched ({reason}); {advice}') from None


def download_voc(root: Path, year: str, keep: bool = False) -> None:
    """Fetch, as :func:`download` does, and unpack what is missing of a year into ``root/VOCdevkit``; ``keep`` the archives."""
    folder = root / f'VOCdevkit/VOC{year}'
    for archive in ARCHIVES[year]:
        listed, path = folder / f'ImageSets/Main/{archive["split"]}.txt', root / archive['filename']
        ids = listed.read_text().split() if listed.is_file() else []
        files = [folder / name for i in ids for name in (f'JPEGImages/{i}.jpg', f'Annotations/{i}.xml')]
        if len(ids) == archive['pictures'] and all(file.is_file() for file in files):
            print(f'{folder} has all {len(ids)} pictures of {archive["split"]} already')
            continue
        download(archive['url'], path, archive['md5'])
        print(f'unpacking {path} ...')
        unpack(path, root)
        if not keep:
            path.unlink()
    print(f'{folder} is ready')
