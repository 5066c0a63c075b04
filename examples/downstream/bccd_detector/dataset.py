"""BCCD, blood cell count and detection: microscope pictures in VOC layout, https://github.com/Shenggan/BCCD_Dataset."""

from mmdet.datasets import XMLDataset
from mmdet.registry import DATASETS


@DATASETS.register_module()
class BCCDDataset(XMLDataset):
    """Red and white blood cells and platelets."""

    METAINFO = {
        'classes': ('RBC', 'WBC', 'Platelets'),
        'palette': [(220, 20, 60), (60, 60, 220), (20, 160, 60)],
    }
