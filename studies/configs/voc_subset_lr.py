_base_ = 'voc_subset.py'
title = 'one seed, a third of the epochs, for the study voc_subset'
seeds = [0]
reference = 'menet108_lr0.001'
epochs = 4
options = {'train_cfg.max_epochs': epochs, 'train_cfg.val_interval': epochs, 'param_scheduler.1.end': epochs}
models = {
    f'{network}_lr{lr}': dict(
        config=f'configs/ssd_{network}_voc12.py',
        options={
            'optim_wrapper.optimizer.lr': lr,
            'model.backbone.init_cfg.checkpoint': f'{{work_dir}}/tiny_imagenet_100/{network}_seed0/epoch_15.pth',
        },
    )
    for network in ('mobilenet025', 'shufflenet050', 'menet108')
    for lr in (0.0005, 0.001, 0.002)
}
models['_delete_'] = True
