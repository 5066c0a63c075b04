"""Fetch PASCAL VOC from its official place."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import requests
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from torchvision.datasets.voc import DATASET_YEAR_DICT

from menet_mm.errors import InputError

#: Archives of each year, as torchvision knows them: address, file name, MD5.
ARCHIVES = {
    '2007': [DATASET_YEAR_DICT['2007'], DATASET_YEAR_DICT['2007-test']],
    '2012': [DATASET_YEAR_DICT['2012']],
}
CHUNK = 1 << 20


def download(url: str, path: Path, md5: str | None = None) -> None:
    """Fetch a file unless it is there; an interrupted download goes on where it stopped.

    Args:
        url: its address.
        path: where it goes; ``<path>.partial`` holds an unfinished download.
        md5: checksum that the file must have; without one, an interrupted download starts again.

    Raises:
        InputError: if the server cannot be reached or the file is not the expected one.
    """
    if path.is_file() and md5 in (None, _md5(path)):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'{path.name}.partial')
    if md5 is None:
        partial.unlink(missing_ok=True)
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
                    task = progress.add_task(path.name, total=total, completed=done)
                    for chunk in response.iter_content(CHUNK):
                        file.write(chunk)
                        progress.advance(task, len(chunk))
    except requests.HTTPError as error:
        raise InputError(f'{url} cannot be fetched (status {error.response.status_code}); check the address') from None
    except requests.RequestException as error:
        raise InputError(
            f'{url} cannot be fetched ({type(error).__name__}); run the same command again to go on'
        ) from None
    if md5 is not None and _md5(partial) != md5:
        partial.unlink()
        raise InputError(f'{url} is not the file that was expected (its MD5 is not {md5}); run the same command again')
    partial.rename(path)


def _md5(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'md5').hexdigest()


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar file; entries that would leave ``folder`` are refused."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter='data')
