"""The page of tools/demo.py, asked by gradio's own client and in a browser. What it shows is tested in test_demo.py."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
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


def upload(browser: Chrome, address: str, path: Path) -> WebDriverWait:
    """Open the page and give it a file; returns what waits for its answer."""
    browser.get(address)
    wait = WebDriverWait(browser, 60)
    wait.until(lambda driver: driver.find_elements(By.CSS_SELECTOR, 'input[type=file]'))[0].send_keys(str(path))
    return wait


def drawing(browser: Chrome) -> list[int]:
    """Width and height of the drawn picture, which the page shows."""
    script = """
    const shown = [...document.querySelectorAll('[role=tabpanel] img')].filter(i => i.offsetParent && i.naturalWidth > 20);
    return shown.length ? [shown[0].naturalWidth, shown[0].naturalHeight] : null
    """
    return browser.execute_script(script)


def test_in_a_browser_without_a_network(browser, address, picture, tmp_path):
    wait = upload(browser, address, picture)
    assert wait.until(drawing) == [80, 60]
    wait.until(lambda driver: '31, 21, 49, 39' in driver.page_source)
    # Text of a model is text.
    assert not browser.find_elements(By.XPATH, "//b[text()='block']")
    (number,) = browser.find_elements(By.CSS_SELECTOR, 'input[type=number]')
    number.send_keys(Keys.CONTROL + 'a')
    number.send_keys('0.9' + Keys.ENTER + Keys.TAB)
    wait.until(lambda driver: '31, 21, 49, 39' not in driver.page_source)
    errors = [entry['message'] for entry in browser.get_log('browser') if entry['level'] == 'SEVERE']
    assert not [line for line in errors if 'http' in line.replace(address.rstrip('/'), '')]


def test_a_rotated_and_a_broken_picture_in_a_browser(browser, address, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter
    Image.new('RGB', (80, 60), 'grey').save(tmp_path / 'turned.jpg', exif=exif)
    assert upload(browser, address, tmp_path / 'turned.jpg').until(drawing) == [60, 80]
    (tmp_path / 'broken.jpg').write_bytes((tmp_path / 'turned.jpg').read_bytes()[:300])
    upload(browser, address, tmp_path / 'broken.jpg').until(
        lambda driver: [
            box
            for box in driver.find_elements(By.CSS_SELECTOR, 'textarea')
            if box.is_displayed() and box.get_attribute('value').startswith('broken.jpg is damaged')
        ]
    )
    assert drawing(browser) is None
