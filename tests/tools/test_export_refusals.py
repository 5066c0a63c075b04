"""What cannot be exported, and mistakes in exporting: one sentence, and nothing is left behind."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from menet_mm import InputError
from menet_mm.checkpoints import write_checkpoint
from menet_mm.deploy import export, exporter
from menet_mm.deploy.runtimes import onnxruntime

ROOT = Path(__file__).resolve().parent.parent.parent
CLASSIFIER, DETECTOR = 'configs/menet108_in1k.py', 'configs/ssd_menet108_voc12.py'
#: Of pictures of 64 px.
SMALL = 'configs/mobilenet025_tiny100.py'


def build(config: str) -> torch.nn.Module:
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints with random weights."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp('weights')
    files = {}
    for name, config in dict(menet108=CLASSIFIER, ssd=DETECTOR, small=SMALL).items():
        files[name] = folder / f'{name}.pth'
        write_checkpoint(files[name], build(config).state_dict(), {})
    return files


IMAGES = [np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_bias(value: float):
    """Make a form that computes something else."""
    to_deploy = exporter.to_deploy

    def change(*args):
        form = to_deploy(*args)
        form.head.fc.bias = torch.nn.Parameter(form.head.fc.bias + value, requires_grad=False)
        return form

    return change


def test_nothing_is_written_unless_the_comparison_holds(weights, tmp_path, monkeypatch):
    out, small = tmp_path / 'model.onnx', str(weights['small'])

    def refused(value: float) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(exporter, 'to_deploy', with_bias(value))
            with pytest.raises(InputError, match='the exported model differs from PyTorch by .* nothing was written'):
                export(SMALL, small, out, IMAGES)

    refused(float('nan'))
    assert not content(tmp_path)
    export(SMALL, small, out, IMAGES)
    written = content(tmp_path)
    assert set(written) == {'model.onnx', 'model.onnx.json'}
    # What was there before stays.
    refused(0.1)
    assert content(tmp_path) == written

    write = onnxruntime.write

    def of_one_picture(form, example, path, dynamic_batch, input_name):
        write(form, example, path, False, input_name)

    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime, 'write', of_one_picture)
        with pytest.raises(Exception, match='invalid dimensions for input'):
            export(SMALL, small, tmp_path / 'any_batch.onnx', IMAGES, dynamic_batch=True)
    assert content(tmp_path) == written

    def interrupted(form, example, path, dynamic_batch, input_name):
        path.write_bytes(b'half')
        raise RuntimeError('no space left')

    monkeypatch.setattr(onnxruntime, 'write', interrupted)
    with pytest.raises(RuntimeError, match='no space left'):
        export(SMALL, small, out, IMAGES)
    assert content(tmp_path) == written


@pytest.mark.parametrize('int8', [False, True])
def test_preprocessing_that_is_not_the_configs_is_noticed(weights, tmp_path, monkeypatch, int8):
    steps = exporter.preprocess_steps

    def transposed(cfg):
        found, size = steps(cfg)
        return [replace(found[0], backend='pillow')], size

    monkeypatch.setattr(exporter, 'preprocess_steps', transposed)
    larger = [np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)]
    with pytest.raises(
        InputError, match='would prepare pictures otherwise than the test pipeline: nothing was written'
    ):
        export(SMALL, str(weights['small']), tmp_path / 'x.onnx', larger, int8=int8, calibration=larger)
    assert not content(tmp_path)


def test_a_test_set_in_a_wrapper_is_exported(weights, tmp_path):
    config = tmp_path / 'wrapped.py'
    config.write_text(
        f"_base_ = '{ROOT}/{SMALL}'\n"
        "test_dataloader = dict(dataset=dict(_delete_=True, _scope_='mmpretrain', type='ConcatDataset', "
        'datasets=[_base_.test_dataloader.dataset] * 2))\n'
    )
    export(config, str(weights['small']), tmp_path / 'x.onnx', IMAGES)
    assert (tmp_path / 'x.onnx').is_file()


def test_a_checkpoint_of_data_parallel_is_taken(tmp_path):
    """Its names start with ``module.``; this one has something else than a dict for meta, too."""
    state = {f'module.{key}': value for key, value in build(SMALL).state_dict().items()}
    torch.save(dict(state_dict=state, meta='made by hand'), tmp_path / 'x.pth')
    export(SMALL, str(tmp_path / 'x.pth'), tmp_path / 'x.onnx', IMAGES)
    assert (tmp_path / 'x.onnx').is_file()


@pytest.fixture
def bad(tmp_path, shapes) -> dict[str, Path]:
    """Files that cannot be used."""
    folder = tmp_path / 'bad'
    for name in ('empty', 'mixed'):
        (folder / name).mkdir(parents=True)
    (folder / 'mixed/cut.jpg').write_bytes(next((shapes / 'VOC2007/JPEGImages').iterdir()).read_bytes()[:900])
    (folder / 'damaged.pth').write_bytes(b'no checkpoint')
    pipeline = (
        "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), "
        "dict({}), dict(type='PackInputs')]))\n"
    )
    for name, (config, text) in {
        'bicubic': (CLASSIFIER, pipeline.format("type='Resize', scale=224, interpolation='bicubic'")),
        'ratio': (CLASSIFIER, pipeline.format("type='Resize', scale=(224, 224), keep_ratio=True")),
        'unsized': (CLASSIFIER, pipeline.format("type='ResizeEdge', scale=256, edge='short'")),
        'untouched': (CLASSIFIER, "test_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))\n"),
        'flip': (CLASSIFIER, pipeline.format("type='RandomFlip', prob=1.0")),
        'soft_nms': (DETECTOR, "model = dict(test_cfg=dict(nms=dict(type='soft_nms')))\n"),
        'agnostic': (DETECTOR, 'model = dict(test_cfg=dict(nms=dict(class_agnostic=True)))\n'),
        'padded': (DETECTOR, 'model = dict(data_preprocessor=dict(pad_size_divisor=128))\n'),
        'clamp': (DETECTOR, 'model = dict(bbox_head=dict(bbox_coder=dict(add_ctr_clamp=True)))\n'),
    }.items():
        (folder / f'{name}.py').write_text(f"_base_ = '{ROOT}/{config}'\n{text}")
    return {path.stem: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ('config', 'checkpoint', 'options', 'sentence'),
    [
        (CLASSIFIER, 'menet108', '--to onnx --out x.pth', '--out .*x.pth must end in .onnx for --to onnx'),
        (CLASSIFIER, 'menet108', '--to ncnn --out x.onnx', '--out .*x.onnx must end in .param for --to ncnn'),
        (CLASSIFIER, 'menet108', '--to onnx --out x.xml', '--out .*x.xml must end in .onnx for --to onnx'),
        (
            'configs/faster_rcnn_menet108_voc.py',
            'menet108',
            '--to onnx --out x.onnx',
            'FasterRCNN cannot be exported, classifiers and SSD can: run it in PyTorch with menet_mm.deploy.to_deploy',
        ),
        (
            CLASSIFIER,
            'menet108',
            '--to ncnn --out x.param --dynamic-batch',
            'ncnn is written without --dynamic-batch: leave',
        ),
        (
            CLASSIFIER,
            'menet108',
            '--to ncnn --out x.param --int8 --calib {pictures}',
            'ncnn is written without --int8: leave it out, or',
        ),
        (
            CLASSIFIER,
            'menet108',
            '--to ncnn --out x.param --block 8',
            '--block is for --to onnx: leave it out for ncnn',
        ),
        (CLASSIFIER, 'menet108', '--to onnx --out x.onnx --int8', '--int8 needs pictures to calibrate on: give'),
        (
            CLASSIFIER,
            'menet108',
            '--to onnx --out x.onnx --calib {pictures}',
            '--calib is for --int8: give both or none',
        ),
        (CLASSIFIER, 'none.pth', '--to onnx --out x.onnx', 'no checkpoint none.pth: '),
        ('none.py', 'menet108', '--to onnx --out x.onnx', 'no config none.py: give a file, or a name such as '),
        (CLASSIFIER, 'damaged', '--to onnx --out x.onnx', 'checkpoint .*damaged.pth is damaged or no checkpoint'),
        ('configs/menet228_in1k.py', 'menet108', '--to onnx --out x.onnx', 'the checkpoint is of another network'),
        (CLASSIFIER, 'menet108', '--to onnx --out x.onnx --images {empty}', 'no pictures in .*empty'),
        (
            CLASSIFIER,
            'menet108',
            '--to onnx --out x.onnx --images {mixed}',
            r'.*cut.jpg cannot be used \(.*\): take it',
        ),
        (CLASSIFIER, 'menet108', '--to openvino --out there.xml', '.* would both be there.bin: choose another --out'),
        (
            'bicubic',
            'menet108',
            '--to onnx --out x.onnx',
            "Resize of the test pipeline has interpolation='bicubic': export",
        ),
        ('ratio', 'menet108', '--to onnx --out x.onnx', 'Resize of the test pipeline has keep_ratio=True: export'),
        ('unsized', 'menet108', '--to onnx --out x.onnx', 'the test pipeline gives no fixed size: add CenterCrop'),
        ('untouched', 'menet108', '--to onnx --out x.onnx', 'the test pipeline gives no fixed size: add CenterCrop'),
        ('flip', 'menet108', '--to onnx --out x.onnx', 'the test pipeline has RandomFlip: export knows ResizeEdge, '),
        ('soft_nms', 'ssd', '--to onnx --out x.onnx', 'export knows SSD with plain NMS of each class'),
        ('agnostic', 'ssd', '--to onnx --out x.onnx', 'export knows SSD with plain NMS of each class'),
        ('padded', 'ssd', '--to onnx --out x.onnx', 'pictures of 320 x 320 would be padded to multiples of 128'),
        ('clamp', 'ssd', '--to onnx --out x.onnx', '.* no add_ctr_clamp: change bbox_coder'),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_said(
    tool_here, weights, bad, shapes, tmp_path, config, checkpoint, options, sentence
):
    folder = tmp_path / 'out'
    folder.mkdir()
    (folder / 'there.param').touch()
    places = dict(pictures=f'{shapes}/VOC2007/JPEGImages', **bad)
    words = [
        str(folder / word) if word.startswith(('x.', 'there.')) else word.format(**places) for word in options.split()
    ]
    files = dict(**weights, **bad)
    with pytest.raises(SystemExit) as stopped:
        tool_here('export.py', files.get(config, config), files.get(checkpoint, checkpoint), *words)
    assert re.match(f'error: {sentence}', stopped.value.code), stopped.value.code
    assert '\n' not in stopped.value.code
    assert [path.name for path in folder.iterdir()] == ['there.param']


def test_no_pictures_to_compare_on_is_no_proof(weights, tmp_path):
    with pytest.raises(InputError, match='export needs at least one picture to compare on'):
        export(SMALL, str(weights['small']), tmp_path / 'x.onnx', [])
    assert not list(tmp_path.iterdir())
