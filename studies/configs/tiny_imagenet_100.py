title = 'classification of 100 classes of Tiny ImageNet, 64 px, from scratch'
metric = 'accuracy/top1'
# Percent; below it the networks have learnt too little to be compared.
floor = 25.0
seeds = [0, 1, 2]
reference = 'menet108'
menet = 'configs/menet108_tiny100.py'
side = 'model.backbone.side_cfg'
# Each network's best of those that studies/configs/tiny_imagenet_100_lr.py tries; 0.1, the config's, for the others.
rate = {'optim_wrapper.optimizer.lr': 0.2}
models = dict(
    menet108=dict(config=menet, options=rate),
    shufflenet050=dict(config='configs/shufflenet050_tiny100.py'),
    mobilenet025=dict(config='configs/mobilenet025_tiny100.py'),
    # The ME path of MENet-108, taken apart.
    no_side_path=dict(config=menet, options={side: None, **rate}, seeds=[0, 1]),
    no_3x3=dict(config=menet, options={f'{side}.conv': False, **rate}, seeds=[0, 1]),
    addition=dict(config=menet, options={f'{side}.fusion': 'add', **rate}, seeds=[0, 1]),
    squeeze_excitation=dict(config=menet, options={f'{side}.type': 'menet_mm.SqueezeExcitation', **rate}, seeds=[0, 1]),
    **{f'k{k}': dict(config=menet, options={f'{side}.side_channels': k, **rate}, seeds=[0]) for k in (4, 12, 16, 24)},
)
