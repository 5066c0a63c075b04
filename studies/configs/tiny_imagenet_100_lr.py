title = 'one seed, a third of the epochs, for the study tiny_imagenet_100'
metric = 'accuracy/top1'
seeds = [0]
reference = 'menet108_lr0.1'
networks = ('mobilenet025', 'shufflenet050', 'menet108')
options = {'train_cfg.max_epochs': 5, 'train_cfg.val_interval': 5, 'param_scheduler.1.end': 5}
models = {
    f'{network}_lr{lr}': dict(config=f'configs/{network}_tiny100.py', options={'optim_wrapper.optimizer.lr': lr})
    for network in networks
    for lr in (0.1, 0.2, 0.4)
}
