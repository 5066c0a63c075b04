# Your own pictures to classify, a folder for each class, with the crops of ILSVRC.
_base_ = 'imagenet.py'
data_root = 'data/mine'
data_hint = (
    'put pictures into train/<class> and val/<class>, or let `python tools/new_project.py` write a config for your data'
)
num_classes = 5
data_preprocessor = dict(num_classes=num_classes)
dataset = dict(_delete_=True, _scope_='mmpretrain', type='CustomDataset', data_root=data_root)
train_dataloader = dict(
    batch_size=32, num_workers=1, dataset=dict(data_prefix='train', pipeline=_base_.train_pipeline, **dataset)
)
val_dataloader = dict(
    num_workers=1, dataset=dict(data_prefix='val', test_mode=True, pipeline=_base_.test_pipeline, **dataset)
)
test_dataloader = val_dataloader
# Top-5 says something from ten classes or so on, and fails with fewer than five.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator
