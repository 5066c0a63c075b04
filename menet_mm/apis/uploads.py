"""Pictures and videos that someone gives to the page of ``tools/demo.py``: looked at before anything decodes them."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from menet_mm.errors import InputError
from menet_mm.utils.pictures import FORMATS, read_image

MOST_BYTES = 50 * 2**20  # of an upload
MOST_PIXELS = 2**26  # of a picture
#: How files of videos begin, after so many bytes. FFmpeg also knows text files that name other files: these are not let in.
VIDEO_HEADS = (
    (4, b'ftyp'),
    (8, b'AVI '),
    (0, b'\x1aE\xdf\xa3'),
    (0, b'\0\0\x01\xba'),
    (0, b'FLV\x01'),
    (0, b'0&\xb2u'),
)
STILL_BRANDS = (b'avif', b'heic', b'heix', b'mif1')  # pictures in a container of videos


def is_video(path: Path) -> bool:
    """Tell whether a file is a video, by how it begins."""
    with path.open('rb') as file:
        head = file.read(189)
    if head[4:8] == b'ftyp' and head[8:12] in STILL_BRANDS:
        return False
    starts = any(head[at : at + len(mark)] == mark for at, mark in VIDEO_HEADS)
    return starts or head[:1] + head[188:] == b'GG'  # the packets of a transport stream


def check_upload(path: Path) -> None:
    """Raise ``InputError`` if an upload is gone or has more than :data:`MOST_BYTES`."""
    if not path.is_file():
        raise InputError('the upload is not there any more: give it again')
    if (size := path.stat().st_size) > MOST_BYTES:
        raise InputError(
            f'{path.name} has {size / 2**20:.0f} MB, but the page takes {MOST_BYTES >> 20}: give a smaller one'
        )


def read_upload(path: Path) -> np.ndarray:
    """Read a picture that someone gave: (H, W, 3), 8 bit, blue first, turned as EXIF says.

    Raises ``InputError`` if it is too large, before it is decoded, or is damaged or no picture.
    """
    check_upload(path)
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        width = height = 2**16
    except UnidentifiedImageError:
        kinds = ', '.join(FORMATS)
        raise InputError(f'{path.name} is neither a picture ({kinds}) nor a video: give another file') from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise InputError(f'{path.name} is damaged ({error}): give another file') from None
    if width * height > MOST_PIXELS:
        most = f'{MOST_PIXELS / 1e6:.0f} million pixels'
        raise InputError(f'{path.name} has more than {most}, which is what the page takes: give a smaller one')
    image, defect = read_image(path)
    if defect:
        raise InputError(f'{path.name} is damaged ({defect}): give another file')
    return image
