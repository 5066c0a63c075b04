_base_ = 'ssd_menet228_voc.py'
# Three times as many pictures as VOC 2007 alone, in half the epochs.
voc07 = _base_.train_dataloader.dataset
voc12 = dict(voc07, ann_file='VOC2012/ImageSets/Main/trainval.txt', data_prefix=dict(sub_data_root='VOC2012/'))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        _scope_='mmdet',
        type='ConcatDataset',
        # The two years differ in `dataset_type`, which ConcatDataset would refuse.
        ignore_keys=['dataset_type'],
        datasets=[voc07, voc12],
    )
)
train_cfg = dict(max_epochs=120, val_interval=5)
