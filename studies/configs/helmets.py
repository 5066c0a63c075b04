title = 'SSD-MENet128 on the helmets (700 pictures to train on, two classes), from ImageNet weights, averaged weights'
metric = 'mAP'
classes = ['helmet', 'head']
seeds = [0, 1, 2]
reference = 's8'
epochs = 48
data = {
    key: value
    for split, names in (('train', 'train'), ('val', 'val'), ('test', 'val'))
    for key, value in {
        f'{split}_dataloader.dataset.data_root': 'data/helmets/',
        f'{split}_dataloader.dataset.ann_file': f'ImageSets/Main/{names}.txt',
        f'{split}_dataloader.dataset.metainfo.classes': ('helmet', 'head'),
    }.items()
}
head = 'model.bbox_head'
channels = (128, 256, 512, 512, 256, 256, 128)
options = {
    **data,
    f'{head}.num_classes': 2,
    'train_cfg.max_epochs': epochs,
    'train_cfg.val_interval': 12,
    'param_scheduler.0.end': 200,
    'optim_wrapper.optimizer.lr': 0.002,
    # No zooming out: the objects are small as they are.
    'train_dataloader.dataset.pipeline.2.ratio_range': (1, 1.001),
    'model.train_cfg.assigner.pos_iou_thr': 0.4,
    'model.train_cfg.assigner.neg_iou_thr': 0.35,
}
anchors = dict(
    _delete_=True,
    type='YOLOAnchorGenerator',
    strides=[8, 16, 32, 64, 107, 160, 320],
    base_sizes=[
        [(10, 17), (17, 18), (18, 31), (30, 27)],
        [(46, 44), (37, 58), (35, 64), (67, 35)],
        [(98, 81), (69, 118), (91, 92), (86, 106)],
        [(188, 94), (94, 188), (133, 133), (156, 156)],
        [(182, 182), (257, 129), (129, 257), (207, 207)],
        [(235, 235), (332, 166), (166, 332), (258, 258)],
        [(400, 200), (200, 400), (283, 283), (301, 301)],
    ],
)
s8 = {
    'model.backbone.out_indices': (0, 1, 2),
    'model.neck.in_channels': channels[:3],
    'model.neck.out_channels': channels,
    f'{head}.in_channels': channels,
    **{f'{head}.anchor_generator.{key}': value for key, value in anchors.items()},
}
models = dict(
    s8=dict(config='configs/ssd_menet128_finetune.py', options=s8),
)
