"""Reports in a browser, of runs on real photographs: controls work, everything fits, and nothing is asked of the network."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from selenium.webdriver import Chrome, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from torch.utils.data import Dataset

from menet_mm.evaluation.classifier import write_report
from menet_mm.utils.config import read_config

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
#: What each run that users have a report of is trained and tested on.
RUNS = ('the VOC subset', 'the helmets', 'the quickstart')
SHORT = (
    'train_cfg.max_epochs=2',
    'train_cfg.val_interval=1',
    'model.backbone.init_cfg=None',
    'train_dataloader.batch_size=2',
)


def settings(name: str, shared: Path, shapes: Path) -> tuple[str, dict]:
    """A run's config and options."""
    if name == 'the quickstart':
        sets = {f'{split}_dataloader.dataset.data_root': f'{shapes}/' for split in ('train', 'val', 'test')}
        config = 'configs/ssd_menet228_shapes.py'
    elif name == 'the VOC subset':
        root = f'{shared}/data/VOCdevkit/'
        sets = {f'{split}_dataloader.dataset.data_root': root for split in ('train', 'val', 'test')}
        config = 'configs/ssd_menet128_voc12.py'
    else:
        study = runpy.run_path(str(ROOT / 'studies/configs/helmets.py'))
        root = f'{shared}/data/helmets/'
        sets = {key: root if key.endswith('data_root') else value for key, value in study['data'].items()}
        sets['model.bbox_head.num_classes'] = len(study['classes'])
        config = 'configs/ssd_menet128_finetune.py'
    for split, number in dict(train=4, val=4, test=60).items():
        sets[f'{split}_dataloader.dataset.indices'] = number
        sets |= {f'{split}_dataloader.num_workers': 0, f'{split}_dataloader.persistent_workers': False}
    return config, sets


def invent(dataset: Dataset) -> list[dict]:
    """Detections near a set's objects, twice, of another class, or none's: two epochs teach a network nothing."""
    rng, predictions = np.random.default_rng(0), []
    count = len(dataset.metainfo['classes'])
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        truth = np.array([item['bbox'] for item in info['instances']]).reshape(-1, 4)
        labels = np.array([item['bbox_label'] for item in info['instances']], int)
        chosen = np.repeat(np.arange(len(truth)), rng.integers(0, 3, len(truth)))
        width = (truth[chosen, 2:] - truth[chosen, :2]).mean(1, keepdims=True)
        boxes = truth[chosen] + rng.normal(0, 0.1, (len(chosen), 4)) * width
        other = rng.random(len(chosen)) < 0.2
        found = dict(
            bboxes=torch.tensor(np.sort(boxes.reshape(-1, 2, 2), 1).reshape(-1, 4), dtype=torch.float32),
            scores=torch.tensor(rng.random(len(chosen)), dtype=torch.float32),
            labels=torch.tensor(np.where(other, (labels[chosen] + 1) % count, labels[chosen])),
        )
        size = (info['height'], info['width'])
        predictions.append(dict(img_id=info['img_id'], img_path=info['img_path'], ori_shape=size, pred_instances=found))
    return predictions


@pytest.fixture(scope='module')
def work_dirs(shared, shapes, tool, tool_here, tmp_path_factory) -> dict[str, Path]:
    """Of each run: trained for two epochs of four pictures, and a report of sixty tested ones, or as many as there are."""
    folders = {}
    for name in RUNS:
        config, options = settings(name, shared, shapes)
        folder = tmp_path_factory.mktemp('run')
        words = [f'{key}={value}' for key, value in options.items()]
        tool('train.py', config, '--work-dir', folder, '--cfg-options', *words, *SHORT)
        init_default_scope('mmdet')
        torch.save(
            invent(DATASETS.build(read_config(config, options).test_dataloader.dataset)), folder / 'predictions.pkl'
        )
        tool_here('report.py', config, folder / 'predictions.pkl', '--work-dir', folder, '--cfg-options', *words)
        folders[name] = folder
    return folders


@pytest.fixture(scope='module')
def classifier_page(labelled_sets, tmp_path_factory) -> str:
    """Of four classes in folders, all pictures of which are taken for the second one, less and less surely."""
    folder = tmp_path_factory.mktemp('classifier')
    cfg = Config.fromfile(str(ROOT / 'configs/menet108_finetune.py'))
    cfg.model.head.num_classes = 4
    cfg.test_dataloader.dataset = dict(type='CustomDataset', data_prefix=str(labelled_sets / 'folders'), pipeline=[])
    classes = sorted(path for path in (labelled_sets / 'folders').iterdir() if path.is_dir())
    pictures = [(label, path) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
    answers = []
    for index, (label, path) in enumerate(pictures):
        score = torch.full((4,), 0.2 * index / len(pictures))
        score[1] = 1 - score[0] * 3
        answers.append(dict(img_path=str(path), img_shape=(64, 64), pred_score=score, gt_label=torch.tensor([label])))
    torch.save(answers, folder / 'answers.pkl')
    log = folder / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text(''.join(json.dumps(dict(loss=9 / n, lr=0.1, epoch=n, iter=n, step=n)) + '\n' for n in range(1, 9)))
    write_report(cfg, folder / 'answers.pkl', folder)
    return (folder / 'report/report.html').as_uri()


@pytest.fixture(scope='module')
def comparison(work_dirs, tool_here, tmp_path_factory) -> str:
    page = tmp_path_factory.mktemp('comparison') / 'comparison.html'
    tool_here('report.py', '--compare', *work_dirs.values(), '--out', page)
    return page.as_uri()


@pytest.fixture(scope='module', params=RUNS)
def report(work_dirs, request) -> str:
    return (work_dirs[request.param] / 'report/report.html').as_uri()


@pytest.fixture(scope='module', params=[*RUNS, 'a classifier', 'a comparison'])
def page(work_dirs, classifier_page, comparison, request) -> str:
    pages = {name: (folder / 'report/report.html').as_uri() for name, folder in work_dirs.items()}
    return (pages | {'a classifier': classifier_page, 'a comparison': comparison})[request.param]


def shown(browser: Chrome) -> list:
    return [card for card in browser.find_elements(By.CSS_SELECTOR, '.cards figure') if card.is_displayed()]


def open_page(browser: Chrome, address: str) -> None:
    """Open a page, and wait until its script has run: a browser that has just started may answer too early."""
    browser.get(address)
    WebDriverWait(browser, 60).until(lambda _: browser.execute_script("return document.readyState === 'complete'"))
    WebDriverWait(browser, 60).until(lambda _: browser.find_elements(By.CSS_SELECTOR, '.plots svg[role=button]'))


def choose(browser: Chrome, control: str, value: object) -> None:
    """Set a control as a user does: the page listens to the event, not to the value."""
    script = (
        "const c = document.getElementById(arguments[0]); c.value = arguments[1]; c.dispatchEvent(new Event('input'))"
    )
    browser.execute_script(script, control, str(value))


def test_filters_and_the_slider(browser, report):
    open_page(browser, report)
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


def test_classes_and_the_slider_of_a_classifier(browser, classifier_page, labelled_sets):
    open_page(browser, classifier_page)
    everything = shown(browser)
    counts = [len(list(path.iterdir())) for path in sorted((labelled_sets / 'folders').iterdir()) if path.is_dir()]
    wrong = sum(counts) - counts[1]
    assert len(everything) == int(browser.find_element(By.ID, 'count').text) == wrong
    choose(browser, 'label', 0)
    assert len(shown(browser)) == counts[0]
    choose(browser, 'label', '')
    middle = sorted(float(card.get_attribute('data-score')) for card in everything)[wrong // 2]
    choose(browser, 'score', middle)
    assert 0 < len(shown(browser)) < wrong
    assert all(float(card.get_attribute('data-score')) >= middle - 0.01 for card in shown(browser))


def test_the_comparison_puts_runs_beside_each_other(browser, comparison, work_dirs):
    open_page(browser, comparison)
    runs = browser.find_elements(By.CSS_SELECTOR, '#runs + .wide tr')[1:]
    assert [run.text.split()[0] for run in runs] == [folder.name for folder in work_dirs.values()]
    assert len(browser.find_elements(By.CSS_SELECTOR, '.plots svg')) > 1
    settings = browser.find_element(By.CSS_SELECTOR, '#settings + .wide').text
    assert 'num_classes' in settings


def test_a_click_enlarges_a_plot(browser, page):
    set_width(browser, 1280)
    open_page(browser, page)
    plot = browser.find_element(By.CSS_SELECTOR, '.plots svg')
    width = plot.size['width']
    browser.execute_script('arguments[0].scrollIntoView({block: "center"})', plot)
    plot.click()
    assert plot.size['width'] > 2 * width
    for key, wide in ((Keys.ENTER, False), (Keys.SPACE, True), (Keys.SPACE, False)):
        plot.send_keys(key)
        assert (plot.size['width'] > 2 * width) == wide
        assert plot.get_attribute('aria-pressed') == str(wide).lower()


def set_width(browser: Chrome, width: int) -> None:
    metrics = dict(width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', metrics)


@pytest.mark.parametrize('width', [1280, 400])
def test_everything_fits(browser, page, width):
    set_width(browser, width)
    open_page(browser, page)
    assert browser.execute_script('return innerWidth') == width
    assert browser.execute_script('return document.documentElement.scrollWidth') <= width
    sizes = browser.execute_script(
        "return Promise.all([...document.querySelectorAll('.cards image')].map(i => "
        '{ const p = new Image(); p.src = i.href.baseVal; return p.decode().then(() => p.naturalWidth) }))'
    )
    assert min(sizes, default=1) > 0
    assert sizes or 'comparison' in page


def test_nothing_is_asked_of_the_network(browser, page):
    open_page(browser, page)
    asked = browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert [address for address in asked if not address.startswith('data:')] == []
    assert [entry for entry in browser.get_log('browser') if entry['level'] == 'SEVERE'] == []
