"""Random detections, which no test set has so many kinds of."""

import shutil
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

CLASSES = ('a', 'b', 'c')


def make_case(seed: int, difficult: float = 0) -> tuple[list, list]:
    """Pictures with boxes, of which a fraction is difficult, and detections: near misses, double ones, inventions."""
    rng = np.random.default_rng(seed)
    detections, annotations = [], []
    for _ in range(40):
        count = rng.integers(0, 7)
        corners = rng.uniform(0, 200, (count, 2))
        boxes = np.hstack([corners, corners + rng.uniform(5, 90, (count, 2))]).astype(np.float32)
        labels = rng.integers(0, len(CLASSES), count)
        hard = rng.random(count) < difficult
        annotations.append(
            dict(
                bboxes=boxes[~hard],
                labels=labels[~hard],
                bboxes_ignore=boxes[hard],
                labels_ignore=labels[hard],
            )
        )
        repeated = np.repeat(np.arange(count), rng.integers(0, 4, count))
        shifted = boxes[repeated] + rng.normal(0, 6, (len(repeated), 4))
        invented = rng.uniform(0, 150, (3, 2))
        shifted = np.vstack([shifted, np.hstack([invented, invented + 40])])
        kinds = np.concatenate([labels[repeated], rng.integers(0, len(CLASSES), 3)])
        rows = np.column_stack([shifted, rng.random(len(shifted))]).astype(np.float32)
        detections.append([rows[kinds == label] for label in range(len(CLASSES))])
    return detections, annotations


@pytest.fixture(scope='session')
def random_case() -> Callable[..., tuple[list, list]]:
    """Of a seed and a fraction of difficult objects: detections and annotations as ``report.match`` gives them, of :data:`CLASSES`."""
    return make_case


@pytest.fixture(scope='session')
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Chromium without a screen, for which no address exists but this machine's."""
    programs = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if None in programs:
        pytest.skip('needs Chromium and its driver; on Debian: apt install chromium chromium-driver')
    options = ChromeOptions()
    options.binary_location = programs[0]
    profile = tmp_path_factory.mktemp('browser')
    for argument in (
        'headless=new',
        'no-sandbox',
        'disable-gpu',
        'no-first-run',
        'disable-background-networking',
        'disable-component-update',
        'disable-sync',
        f'user-data-dir={profile}',
        'host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE localhost , EXCLUDE 127.0.0.1',
    ):
        options.add_argument(f'--{argument}')
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    driver = Chrome(options, ChromeService(programs[1]))
    yield driver
    driver.quit()
