_base_ = [
    '_base_/models/ssd_menet108_320px.py',
    '_base_/datasets/voc12_ssd320.py',
    '_base_/schedules/ssd_30e.py',
    '_base_/runtime_mmdet.py',
]
# Your own pictures, from ImageNet weights: tools/new_project.py writes a config that inherits this one and says what is yours.
# As it stands it reads the generated set. Batch, epochs, warm-up and averaging are for 2,000 pictures on a CPU.
data_root = 'data/shapes/VOC2007/'
data_hint = 'run `python tools/make_shapes.py`, or let `python tools/new_project.py` write a config for your data'
classes = ('circle', 'square', 'triangle', 'star')
model = dict(bbox_head=dict(num_classes=4))
dataset = dict(
    _delete_=True,
    _scope_='mmdet',
    type='menet_mm.BoxDataset',
    data_root=data_root,
    format='voc',
    metainfo=dict(classes=classes),
)
train = dict(ann_file='ImageSets/Main/trainval.txt', filter_cfg=dict(filter_empty_gt=True, min_size=32))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=_base_.train_pipeline, **train, **dataset))
# The last key is for CocoMetric, which may stand in the place of VOCMetric.
keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'instances')
test_pipeline = [*_base_.test_pipeline[:-1], dict(type='PackDetInputs', meta_keys=keys)]
val = dict(ann_file='ImageSets/Main/test.txt', test_mode=True)
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline, **val, **dataset))
test_dataloader = val_dataloader
val_evaluator = dict(eval_mode='area')
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=15, val_interval=3)
auto_scale_lr = dict(base_batch_size=8)
# Tests and checkpoints are of averaged weights. The average reaches back over about a tenth of the training.
average = dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.003, update_buffers=True)
custom_hooks = [*_base_.custom_hooks, average]
