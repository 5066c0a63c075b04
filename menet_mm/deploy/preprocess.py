"""Pictures become a network's input, with NumPy, OpenCV and Pillow alone."""

import cv2
import numpy as np
from PIL import Image

from menet_mm.errors import InputError

from .description import Description, Step


def preprocess(image: np.ndarray, description: Description) -> np.ndarray:
    """Bring a picture into the model's form, as the test pipeline of its config does.

    A picture is (H, W, 3), 8 bit, blue first, as ``cv2.imread`` gives it; the result (3, h, w), 32-bit floats. InputError if
    it is no such picture, or too small for a step.
    """
    array = isinstance(image, np.ndarray)
    if not array or image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        got = f'{image.dtype} {image.shape}' if array else repr(image)
        wanted = 'an array (height, width, 3) of 8 bit, as cv2.imread returns it'
        raise InputError(f'a picture must be {wanted}, but got {got}')
    resized, spec = image, description.input
    for step in description.preprocess:
        resized = _apply(step, resized)
    if resized.shape[:2] != description.size:
        (height, width), (h, w) = image.shape[:2], description.size
        raise InputError(f'a picture of {width} x {height} is too small: the model crops {w} x {h} from it')
    ordered = resized[..., ::-1] if spec.channel_order == 'RGB' else resized
    normal = (ordered.astype(np.float32) - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


def _apply(step: Step, image: np.ndarray) -> np.ndarray:
    """Carry out a step to the same pixels as MMCV and MMPretrain."""
    height, width = image.shape[:2]
    size = step.result(width, height)
    if size == (width, height) or 0 in size:
        return image  # a picture too narrow for its edge is refused for its size
    if step.type == 'CenterCrop':
        left, top = round((width - size[0]) / 2), round((height - size[1]) / 2)
        return image[top : top + size[1], left : left + size[0]]
    if step.backend == 'pillow':
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
