"""Reading what ``tools/test.py --out`` wrote, or the libraries' own scripts; nothing that a foreign file brings along is run."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from menet_mm.checkpoints import plain_pickle
from menet_mm.errors import InputError

KEYS = ('bboxes', 'scores', 'labels')  # what a detector's predictions of a picture must have


def read_predictions(path: Path) -> list[dict]:
    """Read a detector's predictions.

    Each has ``img_id``, ``img_path`` and ``pred_instances``, tensors ``bboxes``, ``scores``, ``labels``; else ``InputError``.
    """
    return _read(path, _is_detection, "a detector's predictions")


def read_answers(path: Path) -> list[dict]:
    """Read the predictions of a classifier with one class for each picture.

    Each has tensors ``pred_score`` (C,), of as many classes as the others, and ``gt_label`` (1,); else ``InputError``.
    """
    answers = _read(path, _is_answer, 'predictions of a classifier with one class for each picture')
    if len({len(answer['pred_score']) for answer in answers}) > 1:
        raise InputError(f'{path} has predictions of several numbers of classes: give a file of one test')
    return answers


def _read(path: Path, fits: Callable[[object], bool], kind: str) -> list[dict]:
    advice = f'write it again with `tools/test.py CONFIG CHECKPOINT --out {path}`'
    with path.open('rb') as file:
        pickled = file.peek(1).startswith(b'\x80')  # by mmengine.dump; otherwise torch.save's archive
        try:
            predictions = plain_pickle.load(file) if pickled else plain_pickle.load_tensors(file)
        except Exception as error:  # a damaged file can fail in any way
            reason = str(error).split('\n')[0].rstrip('.') or type(error).__name__
            raise InputError(f'{path} cannot be read as predictions ({reason}): {advice}') from None
    if not isinstance(predictions, list) or not all(map(fits, predictions)):
        raise InputError(f'{path} is no list of {kind}: {advice}')
    return predictions


def _is_detection(value: object) -> bool:
    found = value.get('pred_instances') if isinstance(value, dict) and {'img_id', 'img_path'} <= value.keys() else None
    return isinstance(found, dict) and all(isinstance(found.get(key), Tensor) for key in KEYS)


def _is_answer(value: object) -> bool:
    score, truth = (value.get(key) if isinstance(value, dict) else None for key in ('pred_score', 'gt_label'))
    tensors = isinstance(score, Tensor) and isinstance(truth, Tensor)
    return tensors and score.ndim == 1 and len(score) > 0 and bool(score.isfinite().all()) and truth.shape == (1,)
