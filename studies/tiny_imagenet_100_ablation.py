title = 'The ME path of MENet-108, taken apart, on 100 classes of Tiny ImageNet'
metric = 'accuracy/top1'
floor = 25.0
seeds = [0, 1]
reference = 'menet108'
config = 'configs/menet108_tiny100.py'
side = 'model.backbone.side_cfg'
models = dict(
    menet108=dict(config=config),
    no_side_path=dict(config=config, options={side: None}),
    no_3x3=dict(config=config, options={f'{side}.conv': False}),
    addition=dict(config=config, options={f'{side}.fusion': 'add'}),
    squeeze_excitation=dict(config=config, options={f'{side}.type': 'menet_mm.SqueezeExcitation'}),
    **{f'k{k}': dict(config=config, options={f'{side}.side_channels': k}, seeds=[0]) for k in (4, 12, 16, 24)},
)
