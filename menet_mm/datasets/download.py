"""Fetch PASCAL VOC from its official place."""

from __future__ import annotations

import hashlib
import os
import tarfile
import uuid
from pathlib import Path

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from torchvision.datasets.voc import DATASET_YEAR_DICT

from menet_mm.errors import InputError

#: Archives of each year, as torchvision knows them: address, file name, MD5; the split that each brings, and its pictures.
ARCHIVES = {
    '2007': [
        dict(DATASET_YEAR_DICT['2007'], split='trainval', pictures=5011),
        dict(DATASET_YEAR_DICT['2007-test'], split='test', pictures=4952),
    ],
    '2012': [dict(DATASET_YEAR_DICT['2012'], split='trainval', pictures=11540)],
}
CHUNK = 1 << 20


def download(url: str, path: Path, md5: str | None = None) -> None:
    """Fetch a file unless it is there; it appears complete or not at all.

    Args:
        url: its address.
        path: where it goes.
        md5: checksum that the file must have. With one, ``<path>.partial`` holds an unfinished download, and the next call
            goes on where it stopped; without one it starts again, and several processes may fetch the same file.

    Raises:
        InputError: if the server cannot be reached or the file is not the expected one.
    """
    if path.is_file() and (md5 is None or _md5(path) == md5):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Every process of a distributed run fetches the same weights, each into a file of its own.
    own = f'.{uuid.uuid4().hex}' if md5 is None else ''
    partial = path.with_name(f'{path.name}{own}.partial')
    try:
        _fetch(url, path.name, partial)
        if md5 is not None and _md5(partial) != md5:
            partial.unlink()
            raise InputError(
                f'{url} is not the file that was expected (its MD5 is not {md5}); run the same command again'
            )
        os.replace(partial, path)
    finally:
        if md5 is None:
            partial.unlink(missing_ok=True)


def _fetch(url: str, name: str, partial: Path) -> None:
    """Fetch what is missing of a file, with progress."""
    done = partial.stat().st_size if partial.is_file() else 0
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with requests.get(url, headers={'Range': f'bytes={done}-'}, stream=True, timeout=30) as response:
            if response.status_code == 416:  # nothing is left to send
                response.close()
            else:
                response.raise_for_status()
                done = done if response.status_code == 206 else 0
                total = done + int(response.headers.get('Content-Length', 0)) or None
                with Progress(*columns) as progress, partial.open('ab' if done else 'wb') as file:
                    task = progress.add_task(name, total=total, completed=done)
                    for chunk in response.iter_content(CHUNK):
                        file.write(chunk)
                        progress.advance(task, len(chunk))
    except requests.HTTPError as error:
        raise InputError(f'{url} cannot be fetched (status {error.response.status_code}); check the address') from None
    except requests.RequestException as error:
        raise InputError(
            f'{url} cannot be fetched ({type(error).__name__}); run the same command again to go on'
        ) from None


def _md5(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'md5').hexdigest()


def is_unpacked(folder: Path, split: str, pictures: int) -> bool:
    """Tell whether a split of VOC is there with every picture and annotation.

    Args:
        folder: of the year, such as ``VOCdevkit/VOC2007``.
        split: ``trainval`` or ``test``.
        pictures: how many there must be.
    """
    listed = folder / f'ImageSets/Main/{split}.txt'
    ids = listed.read_text().split() if listed.is_file() else []
    return len(ids) == pictures and all(
        (folder / f'JPEGImages/{i}.jpg').is_file() and (folder / f'Annotations/{i}.xml').is_file() for i in ids
    )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar file; entries that would leave ``folder`` are refused."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter='data')
