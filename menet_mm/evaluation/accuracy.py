"""Numbers of a classifier with one class for each picture: accuracy of all and by class, and which class is taken for which.

Accuracies and precisions are in percent, as mmpretrain's metrics give them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from mmengine.dataset import BaseDataset
from torch import Tensor

from menet_mm.errors import InputError

TOP = 5  # best answers that are looked at, where there are more classes
ALL = 'all pictures'  # the last row of the table by class


def match_answers(dataset: BaseDataset, predictions: list[dict]) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Put what ``predictions.read_answers`` gives beside the data set: names of classes, and what :func:`judge` says.

    Raises ``InputError`` if predictions and data set are of different pictures or classes, or of none.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    advice = 'give the config, and the --cfg-options, that they were made with'
    if not infos or len(infos) != len(predictions) or not all(map(_is_same, infos, predictions)):
        raise InputError(
            f'the {len(predictions)} predictions are not of the {len(infos)} pictures of the data set: {advice}'
        )
    scores = torch.stack([prediction['pred_score'].float() for prediction in predictions])
    truth = torch.cat([prediction['gt_label'] for prediction in predictions]).long()
    count = scores.shape[1]
    classes = tuple(map(str, dataset.metainfo.get('classes') or range(count)))
    if len(classes) != count or not 0 <= truth.min() <= truth.max() < count:
        labels = f'and labels of {truth.min()} to {truth.max()}, the data set has {len(classes)} classes'
        raise InputError(f'the predictions have scores of {count} classes {labels}: {advice}')
    return classes, judge(scores, truth)


def _is_same(info: dict, prediction: dict) -> bool:
    """Whether a prediction is of a picture: the folder may have been another one."""
    paths = [entry['img_path'] for entry in (info, prediction) if isinstance(entry.get('img_path'), str)]
    names = {Path(path).name for path in paths}
    return len(names) <= 1 and int(np.ravel(info['gt_label'])[0]) == int(prediction['gt_label'])


def judge(scores: Tensor, truth: Tensor) -> pd.DataFrame:
    """A row for each picture, of ``scores`` (N, C) and labels (N,).

    Columns: ``truth`` and ``found`` (labels), ``score`` of the latter, ``own`` (the score of the true class), ``right``, and
    where there are more than five classes ``among_five``. As in mmpretrain's ``Accuracy``, a score of 0 is no answer.
    """
    best, labels = scores.topk(min(TOP, scores.shape[1]))
    hit = (labels == truth[:, None]) & (best > 0)
    own = scores.gather(1, truth[:, None])[:, 0]
    columns = dict(truth=truth, found=labels[:, 0], score=best[:, 0], own=own, right=hit[:, 0])
    if scores.shape[1] > TOP:
        columns['among_five'] = hit.any(1)
    return pd.DataFrame({name: column.numpy() for name, column in columns.items()})


def accuracy_by_class(classes: tuple[str, ...], answers: pd.DataFrame) -> pd.DataFrame:
    """A row for each class, and a last one for all pictures.

    Columns: class, pictures, found (pictures that are taken for the class), accuracy, where there are more than five classes
    top5, and precision: how many of those found are right. NaN where there are no pictures.
    """
    index = range(len(classes))
    by_truth, by_found = answers.groupby('truth'), answers.groupby('found')
    table = pd.DataFrame({'class': classes})
    table['pictures'] = by_truth.size().reindex(index, fill_value=0)
    table['found'] = by_found.size().reindex(index, fill_value=0)
    total = {'class': ALL, 'pictures': len(answers), 'found': len(answers)}
    for name, column in dict(accuracy='right', top5='among_five').items():
        if column in answers:
            table[name] = 100 * by_truth[column].mean().reindex(index)
            total[name] = 100 * answers[column].mean()
    table['precision'] = 100 * by_found.right.mean().reindex(index)
    table.loc[len(table)] = pd.Series(total)
    return table


def confusion_counts(answers: pd.DataFrame, classes: int) -> np.ndarray:
    """Count pictures of a class (row) that are taken for a class (column), (classes, classes)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (answers.truth, answers.found), 1)
    return counts


def confused_pairs(answers: pd.DataFrame) -> pd.DataFrame:
    """Pairs of classes ``truth`` and ``found``, and how many pictures (``count``) of the first are taken for the second, most first."""
    wrong = answers[answers.truth != answers.found]
    return (
        wrong.groupby(['truth', 'found'])
        .size()
        .rename('count')
        .reset_index()
        .sort_values('count', ascending=False, kind='stable')
    )


def rank_mistakes(answers: pd.DataFrame) -> pd.DataFrame:
    """Rows with a wrong class: the surest of each true class in turn first."""
    wrong = answers[answers.truth != answers.found].sort_values('score', ascending=False, kind='stable')
    wrong = wrong.assign(turn=wrong.groupby('truth').cumcount())
    return wrong.sort_values(['turn', 'score'], ascending=[True, False], kind='stable')
