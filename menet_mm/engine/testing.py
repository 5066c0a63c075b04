"""What ``tools/test.py`` changes in a config: drawing and test-time augmentation."""

from mmengine.config import Config, ConfigDict


def draw_results(cfg: Config, show: bool, folder: str | None, wait_time: float, interval: int) -> None:
    """Switch on the library's visualization hook; the two libraries name its options differently."""
    hook = cfg.default_hooks.visualization
    on, out = ('draw', 'test_out_dir') if cfg.default_scope == 'mmdet' else ('enable', 'out_dir')
    hook.update({'show': show, 'wait_time': wait_time, 'interval': interval, on: True, out: folder})


def use_tta(cfg: Config) -> None:
    """Wrap model and pipeline for test-time augmentation: what ``tta_model`` and ``tta_pipeline`` say, else flips.

    The defaults are those of the libraries' test scripts, but ground truth is loaded behind the flip: MMDetection's script
    loads it before, and so scores against mirrored boxes.
    """
    pipeline = cfg.test_dataloader.dataset.pipeline
    if cfg.default_scope == 'mmdet':
        nms = dict(type='nms', iou_threshold=0.5)
        model = dict(_scope_='mmdet', type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100))
        keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        pack = dict(type='PackDetInputs', meta_keys=keys)
    else:
        model = dict(_scope_='mmpretrain', type='AverageClsScoreTTA')
        pack = pipeline[-1]
    flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
    load = [step for step in pipeline if step.type == 'LoadAnnotations']
    images = [step for step in pipeline[:-1] if step.type != 'LoadAnnotations']
    flip_pipeline = [*images, dict(type='TestTimeAug', transforms=[flips, *([step] for step in load), [pack]])]
    cfg.model = ConfigDict(**cfg.get('tta_model', model), module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = cfg.get('tta_pipeline', flip_pipeline)
