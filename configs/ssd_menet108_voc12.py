_base_ = 'ssd_menet108_voc.py'
# Fine-tuning from the authors' ImageNet weights (docs/weights.md says how to get them) on VOC 2012 train, tested on val.
# Two processes of one thread each train a CPU of two cores faster than one process of two threads:
# `bash tools/dist_train.sh configs/ssd_menet108_voc12.py 2`.
input_size = 320
max_epochs = 30
anchor_generator = dict(
    strides=[16, 32, 64, 107, 160, 320],
    min_sizes=[32, 80, 133, 182, 235, 283],
    max_sizes=[80, 133, 182, 235, 283, 320],
)
imagenet = dict(type='Pretrained', checkpoint='work_dirs/weights/menet108.pth', prefix='backbone.')
model = dict(
    backbone=dict(frozen_stages=0, init_cfg=imagenet),
    bbox_head=dict(anchor_generator=anchor_generator),
)
# The schedule is too short for objects four times smaller, of which SSD's own recipe is full.
changes = {'menet_mm.ExpandCrop': dict(ratio_range=(1, 2)), 'Resize': dict(scale=(input_size, input_size))}
train_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.test_pipeline]
voc12 = dict(data_prefix=dict(sub_data_root='VOC2012/'))
train = dict(ann_file='VOC2012/ImageSets/Main/train.txt', pipeline=train_pipeline, **voc12)
val = dict(ann_file='VOC2012/ImageSets/Main/val.txt', pipeline=test_pipeline, **voc12)
train_dataloader = dict(batch_size=12, num_workers=1, dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=max_epochs, val_interval=5)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 300
param_scheduler[1].end = max_epochs
param_scheduler[1].eta_min = 1e-6
auto_scale_lr = dict(base_batch_size=24)
