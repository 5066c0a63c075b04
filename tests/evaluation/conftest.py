"""Random detections, which no test set has so many kinds of, and what is asked of every page."""

import base64
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pytest

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


class Tags(HTMLParser):
    """Names and attributes of all tags, and the text of scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.scripts, self.open = [], [], ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag

    def handle_data(self, data: str) -> None:
        if self.open == 'script':
            self.scripts.append(data)
            self.open = ''


@pytest.fixture(scope='session')
def tags() -> Callable[[str], list[tuple[str, dict]]]:
    """Names and attributes of the tags of a page."""
    return lambda text: Tags(text).tags


@pytest.fixture(scope='session')
def assert_harmless() -> Callable[[str], None]:
    """Check that a page runs but its own script, and loads nothing."""

    def check(text: str) -> None:
        seen = Tags(text)
        assert len(seen.scripts) == 1
        (policy,) = (
            attrs['content'] for tag, attrs in seen.tags if 'Content-Security-Policy' in attrs.get('http-equiv', '')
        )
        assert policy.startswith("default-src 'none'")
        for script in seen.scripts:
            assert 'alert' not in script
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"script-src 'sha256-{digest}'" in policy
        for tag, attrs in seen.tags:
            assert tag not in ('img', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'foreignobject')
            assert not [key for key in attrs if key.startswith('on') or key == 'src']
            for key in ('href', 'xlink:href'):
                assert re.match(r'data:image/jpeg;base64,|#|\.\./', attrs.get(key, '#'))

    return check
