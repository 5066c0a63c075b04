import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData


def predict(head_type: str):
    init_default_scope('mmdet')
    cfg = Config.fromfile('configs/ssd_menet108_voc.py').model
    cfg.bbox_head.type = head_type
    cfg.test_cfg.score_thr = 0.0
    torch.manual_seed(0)
    model = MODELS.build(cfg).eval()
    features = model.extract_feat(torch.rand(1, 3, 300, 300))
    meta = dict(img_shape=(300, 300), ori_shape=(300, 300), scale_factor=(1.0, 1.0))
    return model.bbox_head.predict_by_feat(*model.bbox_head(features), batch_img_metas=[meta])


def test_mmdets_head_cannot_predict():
    with pytest.raises(AttributeError, match='loss_cls'):
        predict('mmdet.SSDHead')


def test_our_head_predicts():
    (found,) = predict('menet_mm.SSDHead')
    assert isinstance(found, InstanceData)
    assert len(found) == 200
    assert found.bboxes.min() >= 0
    assert found.bboxes.max() <= 300
    assert set(found.labels.tolist()) <= set(range(20))
    assert found.scores.isfinite().all()
