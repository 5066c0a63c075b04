title = 'SSD at 192 px on the VOC subset of docs/training.md, from the checkpoints of the study tiny_imagenet_100'
metric = 'mAP'
# Mean AP over the classes that are common in the subset.
classes = ['dog', 'cat', 'person', 'sheep', 'horse', 'cow']
floor = 0.25
seeds = [0, 1, 2]
reference = 'menet108'
epochs = 12
# 192 px take 0.4 of a CPU's time at the configs' 320; their anchors, 0.6 times as large.
size, anchors = (192, 192), 'model.bbox_head.anchor_generator'
options = {
    'train_dataloader.dataset.pipeline.3.scale': size,
    'val_dataloader.dataset.pipeline.1.scale': size,
    'test_dataloader.dataset.pipeline.1.scale': size,
    f'{anchors}.strides': [16, 32, 64, 96, 192, 192],
    f'{anchors}.min_sizes': [19, 48, 80, 109, 141, 170],
    f'{anchors}.max_sizes': [48, 80, 109, 141, 170, 192],
    'model.backbone.init_cfg.checkpoint': '{work_dir}/tiny_imagenet_100/{model}_seed{seed}/epoch_15.pth',
    # A stem is one convolution in MENet and ShuffleNet, but seven in MobileNet.
    'model.backbone.frozen_stages': -1,
    # The best of those that studies/configs/voc_subset_lr.py tries, for every network.
    'optim_wrapper.optimizer.lr': 0.002,
    'train_cfg.max_epochs': epochs,
    'train_cfg.val_interval': epochs,
    'param_scheduler.1.end': epochs,
}
models = dict(
    menet108=dict(config='configs/ssd_menet108_voc12.py'),
    shufflenet050=dict(config='configs/ssd_shufflenet050_voc12.py'),
    mobilenet025=dict(config='configs/ssd_mobilenet025_voc12.py'),
)
