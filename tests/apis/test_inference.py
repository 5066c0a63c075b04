"""Models by name, in both libraries, one after the other in one process."""

from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from menet_mm import InputError, get_inferencer
from menet_mm.apis.inference import find_model, list_models
from menet_mm.checkpoints import write_checkpoint
from menet_mm.datasets.shapes import CLASSES


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Random weights of a classifier and a detector, by name."""
    folder = tmp_path_factory.mktemp('weights')
    paths = {}
    for name in ('menet108_in1k', 'ssd_menet228_shapes'):
        cfg = Config.fromfile(f'configs/{name}.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            torch.manual_seed(0)
            model = MODELS.build(cfg.model)
            model.init_weights()
        paths[name] = folder / f'{name}.safetensors'
        meta = dict(dataset_meta=dict(classes=CLASSES)) if 'ssd' in name else {}
        write_checkpoint(paths[name], model.state_dict(), meta)
    return paths


def test_both_tasks_alternate_in_one_process(weights):
    picture = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    classify = get_inferencer('menet108_in1k', weights['menet108_in1k'])
    first = classify(picture)[0]['pred_scores']
    detect = get_inferencer('ssd_menet228_shapes', weights['ssd_menet228_shapes'])
    boxes = detect(picture, return_datasamples=True)['predictions'][0].pred_instances.bboxes
    assert type(detect).__name__ == 'DetInferencer'
    assert detect.model.dataset_meta['classes'] == list(CLASSES)
    again = get_inferencer('menet108_in1k', weights['menet108_in1k'])
    for inferencer in (classify, again):
        assert np.array_equal(inferencer(picture)[0]['pred_scores'], first)
    same = detect(picture, return_datasamples=True)['predictions'][0].pred_instances.bboxes
    assert torch.equal(same, boxes)


def test_what_cannot_be_built_is_said(weights):
    for arguments, message in [
        (('menet999', 'x.pth'), 'no config menet999: give a file, or a name such as'),
        (('none.py', 'x.pth'), 'no config none.py'),
        (('menet108_in1k',), 'no weights of menet108_in1k are published'),
        (('menet108_in1k', 'none.pth'), 'no checkpoint none.pth'),
        (('menet228_in1k', weights['menet108_in1k']), 'of another network'),
        (('menet108_in1k', weights['menet108_in1k'], 'foo'), "no device 'foo' here: give cpu, or"),
        (('menet108_in1k', weights['menet108_in1k'], 'cuda:99'), "no device 'cuda:99' here"),
    ]:
        with pytest.raises(InputError, match=message):
            get_inferencer(*arguments)


def test_every_config_has_a_name():
    names = {path.stem for path in Path('configs').glob('*.py')}
    assert set(list_models()) == names
    for name in names:
        path, _ = find_model(name)
        assert Path(path).samefile(f'configs/{name}.py')
        assert Path(list_models()[name]['Config']).samefile(path)


def test_a_new_config_is_known_by_its_name(tmp_path, monkeypatch):
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/mine.py').write_text('')
    monkeypatch.chdir(tmp_path)
    assert find_model('mine') == ('configs/mine.py', None)


@pytest.mark.slow
def test_indexes_and_page_are_what_the_tool_writes():
    import sys

    sys.path.insert(0, 'tools')
    from make_model_index import ROOT, render

    for name, text in render().items():
        assert (ROOT / name).read_text() == text, f'{name}: run tools/make_model_index.py'


def test_both_indexes_say_the_same():
    here, installed = (mmengine.load(f'{folder}/metafile.yml')['Models'] for folder in ('configs', 'menet_mm/.mim'))
    assert [{**m, 'Config': m['Config'].replace('configs/', 'configs/menet/')} for m in here] == installed


def test_hub_builds_by_name():
    from mmengine.hub import get_config, get_model

    cfg = get_config('menet_mm::menet/ssd_menet108_voc.py')
    assert cfg.model.backbone.arch == '108-8x1-g3'
    for name, kind in [('ssd_menet108_voc', 'SingleStageDetector'), ('menet108_in1k', 'ImageClassifier')]:
        assert type(get_model(f'menet_mm::menet/{name}.py')).__name__ == kind
