# mmengine reads bases before anything is imported, and knows menet_mm's configs once the package is.
_base_ = __import__('menet_mm') and 'menet_mm::menet/ssd_menet108_voc.py'
custom_imports = dict(imports=['bccd_detector'])

# Classes, and the authors' ImageNet weights, converted as menet_mm's docs/weights.md says.
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='weights/menet108.pth', prefix='backbone.')),
    bbox_head=dict(num_classes=3),
)

# Data
data_root = 'data/BCCD/'
data_hint = 'clone https://github.com/Shenggan/BCCD_Dataset and link its BCCD folder to data/BCCD'
data = dict(type='BCCDDataset', data_root=data_root, data_prefix=dict(sub_data_root=''))
train_dataloader = dict(batch_size=8, dataset=dict(ann_file='ImageSets/Main/trainval.txt', **data))
val_dataloader = dict(dataset=dict(ann_file='ImageSets/Main/test.txt', **data))
test_dataloader = val_dataloader

# Metric: area under the curve, as in VOC 2010 and later, instead of 11 points.
val_evaluator = dict(eval_mode='area')
test_evaluator = val_evaluator

# Schedule: two processes of batch 8.
train_cfg = dict(max_epochs=60, val_interval=10)
optim_wrapper = dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)
