title = 'Classification of 100 classes of Tiny ImageNet, 64 px, from scratch'
metric = 'accuracy/top1'
# Percent; below it the networks have learnt too little to be compared.
floor = 25.0
seeds = [0, 1, 2]
reference = 'menet108'
models = dict(
    menet108=dict(config='configs/menet108_tiny100.py'),
    shufflenet050=dict(config='configs/shufflenet050_tiny100.py'),
    mobilenet025=dict(config='configs/mobilenet025_tiny100.py'),
)
