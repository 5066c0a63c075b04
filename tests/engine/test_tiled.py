"""A detector that is tested on tiles finds what tools/infer.py --tile finds, and what the merge says."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope

from menet_mm.apis.inference import get_predictor
from menet_mm.checkpoints import write_checkpoint
from menet_mm.datasets.shapes import CLASSES
from menet_mm.utils.tiles import tiled

CONFIG = 'configs/ssd_menet228_shapes.py'


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """Random weights, whose scores an untrained head spreads over all classes."""
    torch.manual_seed(0)
    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.init_weights()
    path = tmp_path_factory.mktemp('weights') / 'ssd.pth'
    write_checkpoint(path, model.state_dict(), dict(dataset_meta=dict(classes=CLASSES)))
    return path


def test_boxes_are_those_of_the_tiles(shapes, weights):
    cfg = Config.fromfile(CONFIG)
    init_default_scope('mmdet')
    spec = dict(cfg.test_dataloader.dataset, data_root=f'{shapes}/')
    tiles = dict(pipeline=spec['pipeline'], side=100, overlap=0.3)
    model = MODELS.build(dict(type='menet_mm.TiledModel', module=cfg.model, **tiles)).eval()
    model.module.load_state_dict(torch.load(weights, weights_only=True)['state_dict'])
    dataset = DATASETS.build(spec)
    with torch.no_grad():
        samples = model.test_step(pseudo_collate([dataset[0], dataset[1]]))
    predict = tiled(get_predictor(CONFIG, str(weights), 'cpu')[0], 100, 0.3)
    for sample in samples:
        image = cv2.imread(sample.img_path)
        wanted, found = predict(image), sample.pred_instances.numpy()
        assert len(found.scores) == len(wanted['scores']) > 0
        # A batch rounds otherwise than a picture alone, and equal scores may swap.
        for key, name in (('scores', 'scores'), ('bboxes', 'boxes')):
            rows = [np.sort(value.reshape(len(found.scores), -1), 0) for value in (found[key], wanted[name])]
            assert np.abs(rows[0] - rows[1]).max() < 0.05
        assert (found.bboxes >= -1).all()
        assert (found.bboxes <= np.tile(image.shape[1::-1], 2) + 1).all()


@pytest.mark.slow
def test_the_command_tests_on_tiles(tool_here, shapes, weights, tmp_path):
    data = ('--work-dir', tmp_path, '--cfg-options', f'test_dataloader.dataset.data_root={shapes}/')
    data += ('test_dataloader.num_workers=0', 'test_dataloader.persistent_workers=False')
    found = {}
    for name, more in (('plain', ()), ('tiles', ('--tile', 100)), ('one', ('--tile', 2000))):
        path = tmp_path / f'{name}.pkl'
        tool_here('test.py', CONFIG, weights, *more, '--out', path, *data)
        found[name] = [sample['pred_instances'] for sample in torch.load(path, weights_only=True)]
    for plain, tiles, one in zip(*found.values(), strict=True):
        assert len(tiles['scores']) != len(plain['scores'])
        assert torch.allclose(plain['bboxes'], one['bboxes'], atol=0.05)  # a picture that fits one tile
        assert torch.equal(plain['labels'], one['labels'])


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--tile', '640', '--tta'], '--tile and --tta do not go together'),
        (['--tile', '9'], '--tile must be at least 32 pixels, but got 9'),
        (['--overlap', '0.3'], '--overlap is of tiles: give --tile, too'),
    ],
)
def test_what_cannot_be_done_is_said(tool_here, options, sentence):
    with pytest.raises(SystemExit, match=f'^error: {sentence}'):
        tool_here('test.py', CONFIG, 'none.pth', *options)


def test_a_classifier_is_not_tested_on_tiles(tool_here):
    with pytest.raises(SystemExit, match='^error: --tile is for detectors, but this config is a classifier'):
        tool_here('test.py', 'configs/menet108_in1k.py', 'none.pth', '--tile', '640')
