# 100 classes of Tiny ImageNet, 300 + 50 pictures of 64 px each, a folder for each class; the crops of ILSVRC are milder here,
# for networks that see few epochs of small pictures.
_base_ = 'imagenet.py'
data_root = 'data/tiny_imagenet_100'
data_hint = 'make it with `python -m studies.subsets` as docs/studies.md says'
data_preprocessor = dict(num_classes=100)

changes = dict(RandomResizedCrop=dict(scale=64, crop_ratio_range=(0.7, 1.0)))
train_pipeline = [dict(step, **changes.get(step.type, {})) for step in _base_.train_pipeline]
# The pictures have this size already; an exported model takes it from here.
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=64), dict(type='PackInputs')]
dataset = dict(_delete_=True, _scope_='mmpretrain', type='CustomDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=32, num_workers=1, dataset=dict(data_prefix='train', pipeline=train_pipeline, **dataset)
)
val_dataloader = dict(batch_size=250, num_workers=1, dataset=dict(data_prefix='val', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
