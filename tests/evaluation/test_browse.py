"""The sheet of pictures that a network gets, for both libraries."""

from pathlib import Path

import cv2
import numpy as np
import pytest

DETECTOR = 'configs/ssd_menet228_shapes.py'
PAIR, COLOURS = 620, dict(red=(0, 0, 230), green=(0, 200, 0))  # a pair's width on the sheet; blue first


@pytest.fixture
def folders(tmp_path: Path) -> str:
    """Two classes, a folder each: red and green pictures, in the options of a classifier's config."""
    for name, colour in COLOURS.items():
        (tmp_path / 'data/train' / name).mkdir(parents=True)
        for i in range(2):
            cv2.imwrite(str(tmp_path / f'data/train/{name}/{i}.png'), np.full((40, 90, 3), colour, np.uint8))
    config = tmp_path / 'config.py'
    root = Path(__file__).parents[2] / 'configs/menet108_tiny100.py'
    config.write_text(f"""
_base_ = {str(root)!r}
train_dataloader = dict(dataset=dict(data_root={str(tmp_path / 'data')!r}))
""")
    return str(config)


def middle(sheet: np.ndarray, column: int, right: bool) -> np.ndarray:
    """The colour in the middle of a drawing of a square picture in the first row."""
    x = 6 + PAIR * column + 150 + 304 * right
    return sheet[150:170, x : x + 20].reshape(-1, 3).mean(0)


def test_a_detectors_data(tool_here, shapes, tmp_path):
    sheets = {}
    for split in ('train', 'test'):
        out = tmp_path / f'{split}.png'
        said = tool_here(
            'browse.py', DETECTOR, '--split', split, '--number', 5, '--out', out, '--cfg-options',
            f'{split}_dataloader.dataset.data_root={shapes}/',
        )  # fmt: skip
        assert f'5 of {dict(train=12, test=6)[split]} pictures of {split}, ' in said
        sheets[split] = cv2.imread(str(out)).astype(int)
        assert sheets[split].shape == (2 * 316, 4 * PAIR, 3)
    # A test has no augmentation: the network gets what the file has, stretched to a square, with boxes in the same places.
    picture = sheets['test'][6:306, 6:306]
    rows = np.flatnonzero((picture < 250).any((1, 2)))
    columns = np.flatnonzero((picture < 250).any((0, 2)))
    shown = picture[: rows.max() + 1, : columns.max() + 1].astype(np.uint8)
    as_network = sheets['test'][6:306, 310:610]
    stretched = cv2.resize(shown, (300, 300)).astype(int)
    assert np.abs(stretched - as_network).mean() < 12
    assert np.abs(sheets['train'][6:306, 310:610] - sheets['train'][6:306, 6:306]).mean() > 12


def test_a_classifiers_data(tool_here, folders, tmp_path):
    out = tmp_path / 'new/sheet.png'
    said = tool_here('browse.py', folders, '--number', 4, '--out', out)
    assert '4 of 4 pictures of train, 4 labels' in said
    sheet = cv2.imread(str(out))
    for column, colour in enumerate(('green', 'green', 'red', 'red')):
        assert (
            np.abs(middle(sheet, column, right=True) - COLOURS[colour]).max() < 4
        )  # neither colours nor scale changed
    assert (sheet[:40, 6:60] == 255).all(2).any()  # the class stands there, in white


def test_colours_are_right_after_mixup(tool_here, folders, tmp_path):
    config = Path(folders)
    config.write_text(config.read_text() + "model = dict(train_cfg=dict(augments=dict(type='Mixup', alpha=1.0)))\n")
    said = tool_here('browse.py', folders, '--number', 4, '--out', tmp_path / 'sheet.png')
    assert '4 of 4 pictures' in said
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    mixed = np.array([middle(sheet, column, right=True) for column in range(4)])
    share = mixed[:, 2] / 230
    assert np.allclose(mixed[:, 1], 200 * (1 - share), atol=4)
    assert mixed[:, 0].max() < 4


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--out', 'sheet.txt'], '--out sheet.txt must be a file that ends in .jpg or .png'),
        (['--out', 'sheet.png', '--number', '0'], '--number must be at least 1, but got 0'),
        (['--out', 'sheet.png'], 'no data set: .*run `python tools/make_shapes.py`'),
        (['--out', 'sheet.png', '--split', 'val', '--cfg-options', 'val_dataloader=None'], 'the config has no val_'),
    ],
)
def test_what_cannot_be_done_is_said(tool_here, tmp_path, monkeypatch, options, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'^error: {sentence}'):
        tool_here('browse.py', DETECTOR, *options)
    assert not list(tmp_path.iterdir())
