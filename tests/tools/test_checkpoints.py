"""Other people's checkpoints through the command lines: converted, used, and refused where they are not fit."""

import os
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from menet_mm.checkpoints import read_checkpoint

AUTHORS = 'weights/108-MENet-8x1-group-3.pth.tar'
SHA256 = '4dacc47de3d5ae6eefc7a93e5e6b1dbd59d5bb9dc49ae320f947ace5a226eb94'


@pytest.fixture(scope='session')
def menet108(tool, shared, tmp_path_factory) -> Path:
    """The authors' MENet-108, converted."""
    path = tmp_path_factory.mktemp('weights') / 'menet108.pth'
    said = tool('convert_checkpoint.py', shared / AUTHORS, path, '--sha256', SHA256).stdout
    assert "the authors' MENet 108-8x1-g3 with 1000 classes" in said
    meta = dict(source=Path(AUTHORS).name, layout="the authors'", backbone='MENet', variant='108-8x1-g3', sha256=SHA256)
    assert read_checkpoint(path)['meta'] == meta
    return path


@pytest.fixture
def convert(monkeypatch, capsys) -> Callable[..., str]:
    """Run tools/convert_checkpoint.py in this process; returns what it says, an error among it."""

    def call(*arguments: object) -> str:
        monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', *map(str, arguments)])
        try:
            runpy.run_path('tools/convert_checkpoint.py', run_name='__main__')
        except SystemExit as error:
            return str(error)
        return capsys.readouterr().out

    return call


@pytest.mark.parametrize('ending', ['.pth', pytest.param('.safetensors', marks=pytest.mark.slow)])
def test_authors_weights_give_the_reference_figures(convert, tool, shared, menet108, metric, tmp_path, ending):
    """157 and 211 of the 250 pictures are right at top-1 and top-5, as many as with the authors' own code."""
    path = tmp_path / f'again{ending}'
    convert(menet108, path)  # our own layout is one of those it knows
    dataset = 'test_dataloader.dataset'
    log = tool(
        'test.py',
        'configs/menet108_in1k.py',
        path,
        '--cfg-options',
        f'{dataset}.data_root={shared}/data/ilsvrc_sample',
        f'{dataset}.ann_file=val.txt',
        f'{dataset}.data_prefix=images',
        f'{dataset}.split=',
    ).stdout
    assert metric(log, 'accuracy/top1') == pytest.approx(100 * 157 / 250, abs=1e-4)
    assert metric(log, 'accuracy/top5') == pytest.approx(100 * 211 / 250, abs=1e-4)


def test_pretrained_fills_the_backbone_with_nothing_missing_or_left_over(menet108, monkeypatch):
    state = read_checkpoint(menet108)['state_dict']
    given = {key.removeprefix('backbone.'): value for key, value in state.items() if key.startswith('backbone.')}
    cfg = Config.fromfile('configs/ssd_menet108_voc12.py')
    cfg.model.backbone.init_cfg.checkpoint = str(menet108)
    init_default_scope('mmdet')
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    filled = backbone.state_dict()
    assert filled.keys() == given.keys()
    assert all(torch.equal(filled[key], given[key]) for key in given)


class Malicious:
    """Loading it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


def read_by_all(convert, tool, checkpoint, shapes, tmp_path, kind):
    """What the tools say that read a checkpoint, with a data set and pictures, so that loading is reached.

    Only where they do more than read it in the same way are there others than the first.
    """
    yield convert(checkpoint, tmp_path / 'converted.pth')
    if kind in ('truncated', 'empty'):
        return
    loaders = [f'{split}_dataloader.dataset.data_root={shapes}' for split in ('train', 'val', 'test')]
    options = ('--work-dir', tmp_path / 'work', '--cfg-options', *loaders)
    config = 'configs/ssd_menet228_shapes.py'
    yield tool('test.py', config, checkpoint, *options, ok=False).stdout
    if kind == 'malicious':
        yield tool('train.py', config, '--resume', checkpoint, *options, ok=False).stdout
    infer = ('--config', config, '--weights', checkpoint, '--out', tmp_path / 'out')
    yield tool('infer.py', shapes / 'VOC2007/JPEGImages', *infer, ok=False).stdout


def test_python_text_in_a_checkpoint_to_resume_does_not_run(tool, shapes, tmp_path):
    """Its tensors fit, so that resuming is reached; mmengine by itself executes the text."""
    config = 'configs/ssd_menet228_shapes.py'
    init_default_scope('mmdet')
    state = MODELS.build(Config.fromfile(config).model).state_dict()
    created = tmp_path / 'created'
    meta = dict(epoch=1, iter=3, config=f"open({str(created)!r}, 'w')")
    rest = dict(message_hub={}, optimizer={}, param_schedulers=[])
    torch.save(dict(state_dict=state, meta=meta, **rest), tmp_path / 'x.pth')
    options = [f'{split}_dataloader.dataset.data_root={shapes}' for split in ('train', 'val', 'test')]
    options += ['train_dataloader.batch_size=4', 'train_cfg.max_epochs=1']
    work_dir = ('--work-dir', tmp_path / 'work', '--no-validate')
    trusted = ('--trust-checkpoint',)
    resume = ('train.py', config, '--resume', tmp_path / 'x.pth', *work_dir)
    tool(*resume, '--cfg-options', *options, ok=False)  # the rest is empty
    assert not created.exists()
    tool(*resume, *trusted, '--cfg-options', *options, ok=False)
    assert created.exists()  # so it was a real threat


@pytest.mark.photographs
@pytest.mark.slow
def test_wrong_weights_to_start_from_are_refused(tool, shared, menet108, tmp_path):
    """An unconverted file, and one of another variant; mmengine would raise an assertion, and go on, respectively."""
    for config, path, expected in [
        (
            'configs/ssd_menet108_voc12.py',
            shared / AUTHORS,
            "has no weights of model.backbone under the prefix 'backbone.'",
        ),
        ('configs/ssd_menet228_voc.py', menet108, 'is of another network than model.backbone'),
        ('configs/ssd_menet108_voc12.py', tmp_path / 'none.pth', 'no checkpoint'),
    ]:
        key = 'model.backbone.init_cfg'
        options = [f'{key}.type=Pretrained', f'{key}.checkpoint={path}', f'{key}.prefix=backbone.']
        options += [f'{split}_dataloader.dataset.data_root={shared}/data/VOCdevkit' for split in ('train', 'val')]
        options += [f'{split}_dataloader.dataset.indices=16' for split in ('train', 'val')]
        options += ['train_dataloader.batch_size=4']
        said = tool('train.py', config, '--work-dir', tmp_path, '--cfg-options', *options, ok=False).stdout
        assert said.strip().splitlines()[-1].startswith('error: ')
        assert expected in said
        assert 'Traceback' not in said


@pytest.mark.parametrize('kind', ['malicious', 'truncated', 'empty', 'foreign'])
def test_unfit_files_are_refused_in_one_sentence(convert, tool, shapes, tmp_path, kind):
    path, created = tmp_path / 'x.pth', tmp_path / 'created'
    expected = {
        'malicious': 'holds more than tensors and plain values',
        'truncated': 'is damaged or no checkpoint',
        'empty': 'is empty',
        'foreign': 'of another network|of no network that is known',
    }[kind]
    meta = Malicious(created) if kind == 'malicious' else {}
    torch.save(dict(state_dict={'conv.weight': torch.zeros(4, 3, 1, 1)}, meta=meta), path)
    if kind in ('truncated', 'empty'):
        path.write_bytes(path.read_bytes()[: 600 if kind == 'truncated' else 0])
    for said in read_by_all(convert, tool, path, shapes, tmp_path, kind):
        assert 'Traceback' not in said, said
        errors = [line for line in said.splitlines() if line.startswith('error')]
        assert len(errors) == 1, said
        assert re.match(rf'error: .*({expected})', errors[0]), said
    assert not created.exists()
    assert not (tmp_path / 'converted.pth').exists()
    assert not (tmp_path / 'out').exists()


def test_names_of_classes_survive(convert, menet108, tmp_path):
    state = read_checkpoint(menet108)['state_dict']
    state.update({'head.fc.weight': torch.zeros(2, 432), 'head.fc.bias': torch.zeros(2)})
    torch.save(dict(state_dict=state, meta=dict(dataset_meta=dict(classes=['bolt', 'nut']))), tmp_path / 'mine.pth')
    convert(tmp_path / 'mine.pth', tmp_path / 'mine.safetensors')
    meta = read_checkpoint(tmp_path / 'mine.safetensors')['meta']
    assert meta['dataset_meta'] == dict(classes=['bolt', 'nut'])
    assert meta['layout'] == "menet_mm's"


def test_a_wrong_sum_or_ending_is_refused(convert, shared, tmp_path):
    source, target = shared / AUTHORS, tmp_path / 'x.pth'
    said = convert(source, target, '--sha256', '0' * 64)
    assert f'its SHA-256 is {SHA256}' in said
    assert 'must end in .pth' in convert(source, tmp_path / 'x.onnx')
    assert not list(tmp_path.iterdir())


def test_an_address(convert, shared, tmp_path):
    """Fetched from a server of one folder; a wrong address is one sentence, too."""
    import threading
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    handler = partial(SimpleHTTPRequestHandler, directory=str(shared / 'weights'))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}/{Path(AUTHORS).name}'
        convert(url, tmp_path / 'x.safetensors')
        assert read_checkpoint(tmp_path / 'x.safetensors')['meta']['source'] == url
        said = convert(f'{url}.zip', tmp_path / 'y.pth')
        assert 'error: ' in said
        assert 'cannot be fetched' in said
        assert 'Traceback' not in said
        server.shutdown()
