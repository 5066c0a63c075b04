_base_ = 'ssd_menet228_voc.py'
# One's own data as COCO JSON: set data_root, classes and the number of classes. As it stands it reads the generated set.
data_root = 'data/shapes/'
data_hint = 'run `python tools/make_shapes.py`'
classes = ('circle', 'square', 'triangle', 'star')
model = dict(bbox_head=dict(num_classes=4))
dataset = dict(
    _delete_=True,
    _scope_='mmdet',
    type='CocoDataset',
    data_root=data_root,
    metainfo=dict(classes=classes),
    data_prefix=dict(img='VOC2007/JPEGImages/'),
)
train_dataloader = dict(
    dataset=dict(
        ann_file='annotations/trainval.json',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=_base_.train_pipeline,
        **dataset,
    )
)
val_dataloader = dict(
    dataset=dict(ann_file='annotations/test.json', test_mode=True, pipeline=_base_.test_pipeline, **dataset)
)
test_dataloader = val_dataloader
val_evaluator = dict(
    _delete_=True,
    _scope_='mmdet',
    type='CocoMetric',
    ann_file=data_root + 'annotations/test.json',
    metric='bbox',
    classwise=True,
)
test_evaluator = val_evaluator
default_hooks = dict(checkpoint=dict(save_best='coco/bbox_mAP'))
