_base_ = 'ssd_menet228_voc.py'
# The quickstart: a generated set with objects of 10 to 60 % of the picture, trained from scratch on a CPU in minutes.
data_root = 'data/shapes/'
data_hint = 'run `python tools/make_shapes.py`'
classes = ('circle', 'square', 'triangle', 'star')
input_size = 160

anchor_generator = dict(
    strides=[16, 32, 53, 80, 160, 160],
    min_sizes=[30, 60, 100, 120, 135, 150],
    max_sizes=[60, 100, 120, 135, 150, 160],
)
model = dict(bbox_head=dict(num_classes=4, anchor_generator=anchor_generator))

resize = dict(scale=(input_size, input_size))
# The generated objects vary in size and are cut off already; zooming would only make them too small for this input.
zoom = 'menet_mm.ExpandCrop'
train_pipeline = [
    dict(step, **resize) if step.type == 'Resize' else step for step in _base_.train_pipeline if step.type != zoom
]
test_pipeline = [dict(step, **resize) if step.type == 'Resize' else step for step in _base_.test_pipeline]
# Not VOCDataset, with which mmdet prints the names of VOC's classes in its table, whatever the classes are.
dataset = dict(type='XMLDataset', data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline, **dataset))
val_dataloader = dict(batch_size=16, dataset=dict(pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=10, val_interval=2)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 300
auto_scale_lr = dict(base_batch_size=8)
