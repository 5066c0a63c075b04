_base_ = 'ssd_menet228_voc.py'
# VOC 2012, whose test annotations are not public: train for training, val for evaluation.
voc12 = dict(sub_data_root='VOC2012/')
train_dataloader = dict(dataset=dict(ann_file='VOC2012/ImageSets/Main/train.txt', data_prefix=voc12))
val_dataloader = dict(dataset=dict(ann_file='VOC2012/ImageSets/Main/val.txt', data_prefix=voc12))
test_dataloader = val_dataloader
