"""Anything at all as input: it works, or ends in our error; never in another exception, and no box is lost in silence."""

import json
import string
from xml.sax.saxutils import escape

import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import nn

from menet_mm import InputError, MENet
from menet_mm.checkpoints import check_fit, read_checkpoint
from menet_mm.datasets.libraries import coco, voc
from menet_mm.deploy.description import Description
from menet_mm.utils.config import read_config

fuzz = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,  # the same examples each time
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
names = st.sampled_from(['circle', 'square', 'x', '', ' '])
numbers = st.sampled_from(['1', '40', '-3', '0', '1e400', 'nan', '1.5', '', 'one', ' 7 ', '99999999'])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 500) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def answered(function, *arguments):
    """Call a function; returns what it returns, or our error."""
    try:
        return function(*arguments)
    except InputError as error:
        said = error
    assert str(said)
    assert '\n' not in str(said).strip()
    return said


@fuzz
@given(st.lists(st.tuples(names, st.lists(numbers, min_size=4, max_size=4), numbers), max_size=3), st.integers(0, 60))
def test_voc_xml(tmp_path, objects, cut):
    """mmdet gets as many boxes as the file has, once the check has passed."""
    from mmdet.datasets import XMLDataset

    rows = ''.join(
        f'<object><name>{escape(name)}</name><difficult>{hard}</difficult><bndbox>'
        + ''.join(f'<{key}>{side}</{key}>' for key, side in zip(('xmin', 'ymin', 'xmax', 'ymax'), sides, strict=True))
        + '</bndbox></object>'
        for name, sides, hard in objects
    )
    text = f'<annotation><size><width>50</width><height>40</height></size>{rows}</annotation>'
    (tmp_path / 'Annotations').mkdir(exist_ok=True)
    (tmp_path / 'Annotations/a.xml').write_text(text[: len(text) - max(0, cut - 40)])
    (tmp_path / 'list.txt').write_text('a\n')
    data = dict(data_root=f'{tmp_path}/', ann_file='list.txt', data_prefix=dict(sub_data_root=''), test_mode=True)
    data['metainfo'] = dict(classes=('circle', 'square'))
    if isinstance(answered(voc.check, data), InputError):
        return
    (info,) = [XMLDataset(**data).get_data_info(0)]
    assert len(info['instances']) == sum(name in ('circle', 'square') for name, _, _ in objects)


@fuzz
@given(values | st.fixed_dictionaries(dict(images=values, annotations=values, categories=values)))
@example(dict(images=[], annotations=[], categories=[dict(name=None)]))
@example(dict(images=[], categories=[dict(name=['x'])]))
@example(dict(images=[], categories=dict(name=1)))
def test_coco_json(tmp_path, content):
    (tmp_path / 'a.json').write_text(json.dumps(content))
    answered(coco.check, dict(data_root=str(tmp_path), ann_file='a.json', metainfo=dict(classes=('circle',))))


@fuzz
@given(st.binary(max_size=60))
def test_lists_of_ids(tmp_path, content):
    (tmp_path / 'list.txt').write_bytes(content)
    answered(voc.check, dict(data_root=str(tmp_path), ann_file='list.txt', data_prefix=dict(sub_data_root='')))


@settings(fuzz, max_examples=25)
@given(st.dictionaries(st.text(string.ascii_lowercase + '._0', max_size=12), values, max_size=2))
@example({'model.backbone': 3})
@example({'train_dataloader.dataset.0': 1})
@example({'': 1})
@example({'.': 1})
@example({'model..type': 1})
def test_options(options):
    answered(read_config, 'ssd_menet228_shapes', options)


@fuzz
@given(st.dictionaries(st.sampled_from(['weight', 'bias', 'x', 'module.weight']) | st.integers(), values, max_size=3))
def test_key_sets_of_checkpoints(tmp_path, state):
    torch.save(dict(state_dict=state, meta=state), tmp_path / 'x.pth')
    content = answered(read_checkpoint, tmp_path / 'x.pth')
    if not isinstance(content, InputError):
        assert isinstance(answered(check_fit, nn.Linear(2, 2), content), InputError)


@settings(fuzz, max_examples=40)
@given(
    st.fixed_dictionaries(
        dict(
            channels=st.lists(st.integers(-2, 60), max_size=4) | values,
            stem_channels=st.integers(-2, 24) | values,
            side_channels=st.integers(-2, 12) | values,
            groups=st.integers(-2, 5) | values,
            depths=st.lists(st.integers(-1, 2), max_size=4) | values,
        )
    )
)
def test_architectures(arch):
    answered(MENet, arch)


@fuzz
@given(
    st.sampled_from(['task', 'input', 'preprocess', 'classes', 'outputs', 'nms', 'format', 'precision', 'y']), values
)
def test_descriptions_beside_exported_models(tmp_path, key, value):
    content = dict(
        task='classification',
        runtime='onnxruntime',
        input=dict(name='x', shape=[1, 3, 8, 8], mean=[0, 0, 0], std=[1, 1, 1]),
        preprocess=[],
        classes=['a'],
        outputs=['y'],
        format=2,
    )
    (tmp_path / 'm.onnx.json').write_text(json.dumps({**content, key: value}))
    answered(Description.read, tmp_path / 'm.onnx')
