"""The report of a classifier: numbers by hand, by mmpretrain and by counting; pictures; what does not fit."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from mmengine.config import Config
from mmpretrain.evaluation import Accuracy

from menet_mm import InputError
from menet_mm.evaluation import classifier
from menet_mm.evaluation.accuracy import accuracy_by_class, confused_pairs, confusion_counts, judge, rank_mistakes
from menet_mm.evaluation.predictions import read_answers
from menet_mm.evaluation.rendering import write_page

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>$x_{'
LOG = '{"loss": 2.0, "lr": 0.1, "iter": 1, "step": 1, "epoch": 1}\n{"accuracy/top1": 50.0, "step": 1}\n'
#: Scores of three classes, and true classes: right, wrong, wrong and surer, right, wrong.
SCORES = [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.05, 0.9, 0.05], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4]]
TRUTH = [0, 0, 0, 1, 2]


@pytest.mark.parametrize('classes', [3, 5, 6, 50])
def test_accuracy_is_that_of_mmpretrain_and_of_a_count(classes):
    rng = np.random.default_rng(classes)
    scores, truth = rng.dirichlet(np.ones(classes), 200).astype(np.float32), rng.integers(0, classes, 200)
    answers = judge(torch.tensor(scores), torch.tensor(truth))
    table = accuracy_by_class(tuple(map(str, range(classes))), answers)
    better = (scores > scores[np.arange(200), truth][:, None]).sum(1)
    wanted = {'accuracy': 1, 'top5': 5} if classes > 5 else {'accuracy': 1}
    for name, k in wanted.items():
        (theirs,) = Accuracy.calculate(torch.tensor(scores), torch.tensor(truth), topk=(k,))[0]
        assert table[name].iloc[-1] == pytest.approx(theirs.item(), abs=1e-4)
        assert table[name].iloc[-1] == pytest.approx(100 * (better < k).mean())
        by_class = [100 * (better[truth == label] < k).mean() for label in range(classes)]
        assert table[name][:-1].tolist() == pytest.approx(by_class)
    assert ('top5' in table) == (classes > 5)


def test_tables_of_a_known_case():
    answers = judge(torch.tensor(SCORES), torch.tensor(TRUTH))
    table = accuracy_by_class(('a', 'b', 'c'), answers)
    assert table['class'].tolist() == ['a', 'b', 'c', 'all pictures']
    assert table.pictures.tolist() == [3, 1, 1, 5]
    assert table.found.tolist() == [1, 4, 0, 5]
    assert table.accuracy.tolist() == pytest.approx([100 / 3, 100, 0, 40])
    assert table.precision.tolist() == pytest.approx([100, 25, np.nan, np.nan], nan_ok=True)
    assert confusion_counts(answers, 3).tolist() == [[1, 2, 0], [0, 1, 0], [0, 1, 0]]
    assert confused_pairs(answers).to_numpy().tolist() == [[0, 1, 2], [2, 1, 1]]
    assert rank_mistakes(answers).index.tolist() == [2, 4, 1]  # the surest of each class, then the next ones
    assert rank_mistakes(answers).own.tolist() == pytest.approx([0.05, 0.4, 0.3])


def config(root: Path) -> Config:
    """Of a folder for each of four classes."""
    cfg = Config.fromfile('configs/menet108_finetune.py')
    cfg.model.head.num_classes = 4
    cfg.test_dataloader.dataset = dict(type='CustomDataset', data_prefix=str(root), pipeline=[])
    return cfg


def predict(root: Path) -> list[dict]:
    """The second class, surely, for all pictures; those of another folder are the same."""
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    score = torch.tensor([0.1, 0.7, 0.1, 0.1])
    return [
        dict(img_path=f'/elsewhere/{path.name}', img_shape=(64, 64), pred_score=score, gt_label=torch.tensor([label]))
        for label, folder in enumerate(folders)
        for path in sorted(folder.iterdir())
    ]


@pytest.fixture
def work_dir(tmp_path) -> Path:
    path = tmp_path / 'work/20260101_000000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(LOG)
    return tmp_path / 'work'


def test_the_report_of_folders(labelled_sets, work_dir, tags, assert_harmless, capsys):
    root = labelled_sets / 'folders'
    predictions = predict(root)
    torch.save(predictions, work_dir / 'x.pkl')
    classifier.write_report(config(root), work_dir / 'x.pkl', work_dir)
    table = pd.read_csv(work_dir / 'report/accuracy_by_class.csv')
    right = sum(p['gt_label'].item() == 1 for p in predictions)
    assert table['class'].tolist() == [*sorted(path.name for path in root.iterdir()), 'all pictures']
    assert table.accuracy.iloc[-1] == pytest.approx(100 * right / len(predictions), abs=1e-4)
    said = capsys.readouterr().out
    for name in ('report.html', 'accuracy_by_class.csv', 'curves.png'):
        assert str(work_dir / 'report' / name) in said
    text = (work_dir / 'report/report.html').read_text()
    assert_harmless(text)
    assert f'<b>{100 * right / len(predictions):.2f}</b>top-1' in text
    assert 'top-5' not in text
    cards = [attrs for tag, attrs in tags(text) if tag == 'figure']
    assert len(cards) == len(predictions) - right
    assert all('1' in card['data-labels'].split() for card in cards)
    facts = json.loads((work_dir / 'report/facts.json').read_text())
    assert re.fullmatch(r'[\d,]+', facts['parameters'])
    assert re.fullmatch(r'\d+ million at 64 x 64 px', facts['multiply-adds'])


class Pictures:
    """The parts of a data set that a report uses: one picture, under many names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get_data_info(self, index: int) -> dict:
        return dict(img_path=str(self.path))


def write(folder: Path, classes: tuple[str, ...], answers: pd.DataFrame) -> str:
    path = folder / '"><img src=x onerror=alert(1)>.png'
    image = np.random.default_rng(0).integers(0, 256, (400, 300, 3), np.uint8)
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())
    table = accuracy_by_class(classes, answers)
    results = classifier.describe_results(Pictures(path), classes, answers, table)
    facts = dict(title=HOSTILE, facts={HOSTILE: HOSTILE}, config_text=HOSTILE, data_checks=[], curves=[])
    write_page(folder / 'report.html', 'classifier.html.jinja', **facts, **results)
    return (folder / 'report.html').read_text()


def test_text_of_the_data_is_only_text(tmp_path, assert_harmless):
    text = write(tmp_path, (HOSTILE, HOSTILE.upper(), 'c'), judge(torch.tensor(SCORES), torch.tensor(TRUTH)))
    assert_harmless(text)
    assert text.count('&lt;script&gt;alert(1)') > 5
    assert '>nan<' not in text


def test_many_classes_and_mistakes_make_a_small_page(tmp_path, tags, monkeypatch):
    """No matrix, a bounded number and size of pictures, and it is said what is left out."""
    truth = torch.arange(40).repeat(10)
    answers = judge(torch.nn.functional.one_hot((truth + 1) % 40, 40) * 0.5, truth)
    monkeypatch.setattr(classifier, 'BUDGET', 1_000_000)
    text = write(tmp_path, tuple(map(str, range(40))), answers)
    seen = tags(text)
    shown = sum(tag == 'figure' for tag, _ in seen)
    assert 1 < shown < classifier.SHOWN
    assert len(text) < 1_500_000
    assert f'{shown} of 400 mistakes' in text
    assert f'The other {400 - shown} are left out' in text
    assert not [attrs for tag, attrs in seen if attrs.get('class') == 'matrix']
    assert '10 others are left out' in text


def test_no_mistakes(tmp_path, tags):
    text = write(tmp_path, ('a', 'b'), judge(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])))
    assert '<b>100.00</b>top-1' in text
    assert not [tag for tag, _ in tags(text) if tag == 'figure']


def test_what_does_not_belong_together_is_said(labelled_sets, work_dir):
    """Nothing is written."""
    root, path = labelled_sets / 'folders', work_dir / 'x.pkl'
    for change, expected in (
        (lambda found: found[:3], 'the 3 predictions are not of the 12 pictures'),
        (lambda found: found[::-1], 'the 12 predictions are not of the 12 pictures'),
        (lambda found: [dict(one, pred_score=torch.ones(5)) for one in found], 'scores of 5 classes .* has 4 classes'),
    ):
        torch.save(change(predict(root)), path)
        with pytest.raises(InputError, match=expected):
            classifier.write_report(config(root), path, work_dir)
    assert not (work_dir / 'report').exists()


@pytest.mark.parametrize(
    'answer',
    [
        dict(pred_score=torch.ones(3)),
        dict(pred_score=torch.ones(3), gt_label=torch.tensor([0, 2])),
        dict(pred_score=torch.full((3,), float('nan')), gt_label=torch.tensor([0])),
        dict(img_id=1, img_path='a.jpg', pred_instances={}),
        3,
    ],
)
def test_what_is_no_list_of_answers_is_said(tmp_path, answer):
    torch.save([answer], tmp_path / 'x.pkl')
    with pytest.raises(InputError, match='x.pkl is no list of predictions of a classifier'):
        read_answers(tmp_path / 'x.pkl')


def test_answers_of_two_tests_are_refused(tmp_path):
    answers = [dict(pred_score=torch.ones(count), gt_label=torch.tensor([0])) for count in (2, 3)]
    torch.save(answers, tmp_path / 'x.pkl')
    with pytest.raises(InputError, match='several numbers of classes'):
        read_answers(tmp_path / 'x.pkl')
