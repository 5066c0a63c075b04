# PASCAL VOC 2012, train for training and val for evaluation, at 320 px; for fine-tuning in two processes of batch 12.
_base_ = 'voc07_ssd300.py'
input_size = 320
# A fine-tuning is too short for objects four times smaller, of which SSD's own recipe is full.
changes = {'menet_mm.ExpandCrop': dict(ratio_range=(1, 2)), 'Resize': dict(scale=(input_size, input_size))}
train_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.train_pipeline]
test_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.test_pipeline]
voc12 = dict(data_prefix=dict(sub_data_root='VOC2012/'))
train = dict(ann_file='VOC2012/ImageSets/Main/train.txt', pipeline=train_pipeline, **voc12)
val = dict(ann_file='VOC2012/ImageSets/Main/val.txt', pipeline=test_pipeline, **voc12)
train_dataloader = dict(batch_size=12, num_workers=1, dataset=train)
val_dataloader = dict(dataset=val)
test_dataloader = val_dataloader
