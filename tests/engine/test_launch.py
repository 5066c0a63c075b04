"""From a config to a Runner."""

import socket

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS

from menet_mm.engine.essentials import add_essentials
from menet_mm.engine.launch import build_runner


@MODELS.register_module(force=True)
class OneWeight(BaseModel):
    """The smallest model."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **kwargs):
        return dict(loss=self.weight.sum())


def config(tmp_path, request, **more) -> Config:
    name = request.node.name.translate(str.maketrans('[]/', '___'))
    given = dict(model=dict(type='mmengine.OneWeight'), work_dir=str(tmp_path), launcher='none', default_scope='mmdet')
    return Config({**given, 'experiment_name': name, 'log_level': 'ERROR', **more})


@pytest.mark.parametrize(
    ('chosen', 'metric', 'expected'),
    [
        ('auto', dict(type='CocoMetric', metric='bbox', classwise=True), 'coco/bbox_mAP'),
        ('pascal_voc/mAP', dict(type='CocoMetric', metric='bbox'), 'coco/bbox_mAP'),
        ('auto', dict(type='CocoMetric', metric='bbox', prefix='mine'), 'mine/bbox_mAP'),
        ('coco/bbox_mAP_50', dict(type='CocoMetric', metric='bbox'), 'coco/bbox_mAP_50'),
        ('auto', [dict(type='VOCMetric')], 'pascal_voc/mAP'),
        ('auto', dict(type='mmpretrain.Accuracy', topk=(1, 5)), 'accuracy/top1'),
        ('auto', dict(type='CityScapesMetric'), 'auto'),
        ('coco/bbox_mAP', [dict(type='VOCMetric'), dict(type='CocoMetric', metric='bbox')], 'coco/bbox_mAP'),
        ('none/mAP', [dict(type='VOCMetric'), dict(type='CocoMetric', metric='bbox')], 'pascal_voc/mAP'),
        ('auto', [dict(type='VOCMetric'), dict(type='CityScapesMetric')], 'pascal_voc/mAP'),
    ],
)
def test_best_is_the_best_of_all_classes(tmp_path, request, chosen, metric, expected):
    import mmpretrain.evaluation  # noqa: F401

    cfg = config(
        tmp_path,
        request,
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best=chosen)),
        val_dataloader=dict(dataset=[]),
        val_cfg=dict(),
        val_evaluator=metric,
    )
    (hook,) = (hook for hook in build_runner(cfg).hooks if isinstance(hook, CheckpointHook))
    assert hook.save_best == [expected]


@pytest.mark.parametrize(
    ('more', 'unused', 'buffers'),
    [
        (dict(), False, False),
        (dict(find_unused_parameters=True), True, False),
        (dict(model_wrapper_cfg=dict(find_unused_parameters=True)), True, False),
        (dict(model_wrapper_cfg=dict(broadcast_buffers=True)), False, True),
    ],
)
def test_processes_on_cpus_wrap_the_model_as_the_config_says(tmp_path, request, monkeypatch, more, unused, buffers):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1', MASTER_PORT=port).items():
        monkeypatch.setenv(name, str(value))
    try:
        model = build_runner(config(tmp_path, request, **{**more, 'launcher': 'pytorch'})).model
        assert model.device_ids is None
        assert model.find_unused_parameters == unused
        assert model.broadcast_buffers == buffers
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize('name', ['ssd_menet228_voc', 'menet108_in1k'])
def test_other_peoples_configs_get_the_hooks_of_ours(name):
    ours = Config.fromfile(f'configs/{name}.py').default_hooks
    theirs = Config(dict(train_cfg=dict(by_epoch=True, max_epochs=1)))
    add_essentials(theirs)
    assert {key: hook.type for key, hook in theirs.default_hooks.items()}.items() <= {
        key: hook.type for key, hook in ours.items()
    }.items()
    assert {hook.type for hook in ours.values() if hook.type.startswith('menet_mm.')} == {
        hook.type for hook in theirs.default_hooks.values()
    }


def test_compiling_without_a_compiler(command, small_detector, tmp_path):
    words = ('train.py', small_detector(tmp_path / 'small.py'), '--work-dir', tmp_path / 'work', '--compile')
    said = command(*words, status=1, CXX='no-such-compiler', CUDA_VISIBLE_DEVICES='')
    assert said.splitlines()[-1].startswith('error: --compile needs')
    assert not list((tmp_path / 'work').glob('*.pth'))


@pytest.mark.slow
def test_compiled_parts_learn_the_same(command, small_detector, state, tmp_path):
    config = small_detector(tmp_path / 'small.py')
    options = ('--no-validate', '--cfg-options', 'train_cfg.max_epochs=1')
    command('train.py', config, '--work-dir', tmp_path / 'plain', *options)
    said = command('train.py', config, '--work-dir', tmp_path / 'compiled', '--compile', *options)
    assert 'Compiling backbone and neck' in said
    plain, compiled = (state(tmp_path / name / 'epoch_1.pth')['state_dict'] for name in ('plain', 'compiled'))
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)
