"""The report in a browser, of real photographs: controls work, everything fits, and nothing is asked of the network."""

import json

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from menet_mm.utils.config import read_config

CONFIG = 'configs/ssd_menet108_voc.py'


@pytest.fixture(scope='module')
def report(voc_root, tool_here, tmp_path_factory) -> str:
    """Of the photographs that tests are made on, and detections near their objects, twice, of another class, or none's."""
    folder = tmp_path_factory.mktemp('report')
    options = {f'{split}_dataloader.dataset.data_root': voc_root for split in ('train', 'val', 'test')}
    cfg = read_config(CONFIG, options)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rng, predictions = np.random.default_rng(0), []
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        truth = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        labels = np.array([item['bbox_label'] for item in info['instances']], int)
        chosen = np.repeat(np.arange(len(truth)), rng.integers(0, 3, len(truth)))
        boxes = truth[chosen] + rng.normal(0, 12, (len(chosen), 4))
        other = rng.random(len(chosen)) < 0.2
        found = dict(
            bboxes=torch.tensor(np.sort(boxes.reshape(-1, 2, 2), 1).reshape(-1, 4), dtype=torch.float32),
            scores=torch.tensor(rng.random(len(chosen)), dtype=torch.float32),
            labels=torch.tensor(np.where(other, (labels[chosen] + 1) % 20, labels[chosen])),
        )
        size = (info['height'], info['width'])
        predictions.append(dict(img_id=info['img_id'], img_path=info['img_path'], ori_shape=size, pred_instances=found))
    torch.save(predictions, folder / 'predictions.pkl')
    log = folder / '20260101_100000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(dict(loss=9 / n, lr=0.1, epoch=n, iter=n, step=n)) + '\n' for n in range(1, 9)))
    words = [f'{key}={value}' for key, value in options.items()]
    tool_here('report.py', CONFIG, folder / 'predictions.pkl', '--work-dir', folder, '--cfg-options', *words)
    (page,) = folder.rglob('report.html')
    return page.as_uri()


def shown(browser: Chrome) -> list:
    return [card for card in browser.find_elements(By.CSS_SELECTOR, '.cards figure') if card.is_displayed()]


def choose(browser: Chrome, control: str, value: object) -> None:
    """Set a control as a user does: the page listens to the event, not to the value."""
    script = (
        "const c = document.getElementById(arguments[0]); c.value = arguments[1]; c.dispatchEvent(new Event('input'))"
    )
    browser.execute_script(script, control, str(value))


def test_filters_and_the_slider(browser, report):
    browser.get(report)
    everything = shown(browser)
    assert len(everything) == int(browser.find_element(By.ID, 'count').text) > 10
    kinds = {card.get_attribute('data-kind') for card in everything}
    assert len(kinds) > 2
    for kind in kinds:
        choose(browser, 'kind', kind)
        assert {card.get_attribute('data-kind') for card in shown(browser)} == {kind}
        assert browser.find_element(By.ID, 'count').text == str(len(shown(browser)))
    choose(browser, 'kind', '')
    label = everything[0].get_attribute('data-labels').split()[0]
    choose(browser, 'label', label)
    assert all(label in card.get_attribute('data-labels').split() for card in shown(browser))
    assert 0 < len(shown(browser)) < len(everything)
    choose(browser, 'label', '')
    # No box is as sure as 1; what the shown ones miss, all objects with a weaker box, is missed.
    choose(browser, 'score', 1)
    assert {card.get_attribute('data-kind') for card in shown(browser)} <= {'missed'}
    boxes = browser.find_elements(By.CSS_SELECTOR, '.cards g[data-score]')
    assert boxes
    assert not any(box.is_displayed() for box in boxes)


@pytest.mark.parametrize('width', [1280, 400])
def test_everything_fits(browser, report, width):
    browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
    )
    browser.get(report)
    assert browser.execute_script('return innerWidth') == width
    assert browser.execute_script('return document.documentElement.scrollWidth') <= width
    pictures = browser.execute_script(
        "return Promise.all([...document.querySelectorAll('.cards image')].map(i => "
        '{ const p = new Image(); p.src = i.href.baseVal; return p.decode().then(() => p.naturalWidth) }))'
    )
    assert pictures
    assert min(pictures) > 0


def test_nothing_is_asked_of_the_network(browser, report):
    browser.get(report)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [address for address in asked if not address.startswith('data:')] == []
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
