"""Learning rates: those published at the published length, and schedules that follow another number of epochs."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

BATCHES = 50
WARM = dict(type='LinearLR', by_epoch=False, begin=0)
COSINE = dict(type='CosineAnnealingLR', by_epoch=True, begin=0, convert_to_iter_based=True)
STEPS = dict(type='MultiStepLR', by_epoch=True, begin=0, gamma=0.1)
#: Config, number of epochs, and the schedule as it was written out for that number.
PUBLISHED = {
    'ssd_menet228_voc': (240, [dict(WARM, start_factor=0.001, end=500), dict(COSINE, eta_min=1e-4, end=240)]),
    'ssd_menet228_voc0712': (120, [dict(WARM, start_factor=0.001, end=500), dict(COSINE, eta_min=1e-4, end=120)]),
    'ssd_menet228_shapes': (10, [dict(WARM, start_factor=0.001, end=300), dict(COSINE, eta_min=1e-4, end=10)]),
    'ssd_menet108_voc12': (30, [dict(WARM, start_factor=0.001, end=300), dict(COSINE, eta_min=1e-6, end=30)]),
    'menet108_tiny100': (15, [dict(WARM, start_factor=0.01, end=937), dict(COSINE, eta_min=0, end=15)]),
    'faster_rcnn_menet228_voc': (
        24,
        [dict(WARM, start_factor=0.001, end=500), dict(STEPS, end=24, milestones=[16, 22])],
    ),
    'menet228_in1k': (120, [dict(STEPS, end=120, milestones=[30, 60, 90])]),
}


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, *args, **kwargs):
        return dict(loss=self.weight.sum())


def rates(cfg: Config, folder, epochs: int, schedule: object) -> list[float]:
    """Learning rate of each iteration, as mmengine's ParamSchedulerHook steps it."""
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=dict(
            batch_size=1, sampler=dict(type='DefaultSampler', shuffle=False), dataset=list(range(BATCHES))
        ),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(type='OptimWrapper', optimizer=cfg.optim_wrapper.optimizer),
        experiment_name=f'{folder.name}_{epochs}_{id(schedule)}',
        log_level='ERROR',
    )
    assert runner.train_loop.max_epochs == epochs  # building it comes before the schedule
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(copy.deepcopy(schedule))
    found = []
    for _ in range(epochs):
        for _ in range(BATCHES):
            found.append(runner.optim_wrapper.param_groups[0]['lr'])
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
        for scheduler in schedulers:
            if scheduler.by_epoch:
                scheduler.step()
    return found


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', PUBLISHED)
def test_learning_rates(name, tmp_path):
    cfg = Config.fromfile(f'configs/{name}.py')
    epochs, schedule = PUBLISHED[name]
    assert cfg.train_cfg.max_epochs == epochs
    assert rates(cfg, tmp_path, epochs, cfg.param_scheduler) == rates(cfg, tmp_path, epochs, schedule)

    # Half of the length, without the warm-up: the same shape in half of the time.
    last = cfg.param_scheduler[-1] if isinstance(cfg.param_scheduler, list) else cfg.param_scheduler
    full, short = (rates(cfg, tmp_path, length, last) for length in (epochs, epochs // 2))
    for part in (0, 0.45, 0.85, 0.98):
        assert short[int(part * len(short))] == pytest.approx(
            full[int(part * len(full))], rel=0.2, abs=0.02 * full[0]
        ), part
