"""The page of tools/demo.py, asked by gradio's own client. What it shows is tested in test_demo.py."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from torch import nn

from menet_mm.apis import page
from menet_mm.apis.demo import Demo, Timed
from menet_mm.errors import InputError


class Blocks:
    """In the place of a detector: it finds an object in the middle of each picture."""

    name, classes, model = 'blocks', ['<b>block</b>'], nn.Identity()

    def __call__(self, image: np.ndarray) -> Timed:
        centre = np.float32(image.shape[1::-1] * 2) / 2
        boxes = (centre + np.float32([-9, -9, 9, 9]))[None]
        return Timed(dict(boxes=boxes, scores=np.array([0.6]), labels=np.array([0])), 0.001, 0.002, 0.003)


@pytest.fixture(scope='module')
def address(tmp_path_factory) -> Iterator[str]:
    blocks = page.build_page(Demo([Blocks()]), tmp_path_factory.mktemp('drawn'))
    yield page.launch(blocks, '127.0.0.1', None)
    blocks.close(verbose=False)


@pytest.fixture(scope='module')
def client(address) -> Client:
    return Client(address, verbose=False, analytics_enabled=False)


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / 'picture.png'
    cv2.imwrite(str(path), np.full((60, 80, 3), 200, np.uint8))
    return path


def test_a_picture_a_threshold_and_a_broken_file(client, picture):
    message, drawing, _, rows, times = client.predict(handle_file(picture), 'blocks', 0.3, api_name='/look')
    assert not message['visible']
    assert cv2.imread(drawing['value']['path'] if isinstance(drawing['value'], dict) else drawing['value']).shape == (
        60,
        80,
        3,
    )
    assert rows['data'] == [['<b>block</b>', 0.6, '31, 21, 49, 39']]
    assert times['data'][0][0] == 'blocks'
    *_, rows, _ = client.predict(handle_file(picture), 'blocks', 0.7, api_name='/look')
    assert not rows['data']
    picture.write_bytes(picture.read_bytes()[:60])
    message, drawing, *_ = client.predict(handle_file(picture), 'blocks', 0.3, api_name='/look')
    assert message['visible']
    assert message['value'].startswith('picture.png is ')
    assert drawing['value'] is None


def test_the_page_loads_nothing_from_another_server(address):
    with urllib.request.urlopen(address) as answer:
        policy, text = answer.headers['content-security-policy'], answer.read().decode()
    assert "default-src 'self'" in policy
    assert 'http' not in policy
    loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]*)"|<link[^>]*\shref="([^"]*)"', text)
    assert loaded
    assert not [name for names in loaded for name in names if re.match(r'(https?:)?//', name) and address not in name]


def test_too_large_an_upload_is_refused(client, picture):
    with picture.open('wb') as file:
        file.truncate(page.MOST_BYTES + 1)
    with pytest.raises(Exception, match='exceeds|413|Too Large|too large'):
        client.predict(handle_file(picture), 'blocks', 0.3, api_name='/look')


def test_a_port_that_is_taken_is_said(address, tmp_path):
    with pytest.raises(InputError, match='cannot listen on 127.0.0.1, port .*: give another --port'):
        page.launch(page.build_page(Demo([Blocks()]), tmp_path), '127.0.0.1', int(address.rstrip('/').split(':')[-1]))
