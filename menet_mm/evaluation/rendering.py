"""What the pages of ``tools/report.py`` are made with: one template, script and style, numbers, matrices, and plots inside the page.

Names of classes and files, and the log, may come from anywhere: Jinja2 escapes all text, and the page's policy lets the browser
run the page's own script alone and load nothing.
"""

import base64
import hashlib
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib
import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from menet_mm.evaluation.curves import CURVES, finish
from menet_mm.utils.files import write_text
from menet_mm.utils.html import STYLE

NAME = 60  # characters of a class's name
HERE = Path(__file__).parent


def write_page(path: Path, template: str, **content: Any) -> None:
    """Fill a template of this folder and write it: a page that needs nothing beside it."""
    script = Markup((HERE / 'report.js').read_text())
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters['number'] = format_number
    style = Markup(STYLE + (HERE / 'report.css').read_text())
    page = environment.get_template(template)
    text = page.render(content, style=style, script=script, digest=digest, quote=quote)
    write_text(path, text.encode(errors='replace').decode())  # names of files and JSON may hold half a character


def format_number(value: float | None, digits: int = 3) -> str:
    """Write a number; a dash for none."""
    return '-' if value is None or np.isnan(value) else f'{value:.{digits}f}'


def shorten(text: str, limit: int = NAME) -> str:
    """Cut off what is longer than ``limit`` characters."""
    return text if len(text) <= limit else f'{text[:limit]}...'


def describe_matrix(counts: np.ndarray, totals: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> dict:
    """A confusion matrix for the page, with names of ``rows`` and ``columns``; ``totals`` (rows, 1) are what shares are of."""
    shares = (counts / np.maximum(totals, 1)).round(3)
    lines = [
        dict(
            name=name,
            cells=[dict(count=c, share=s, right=row == i) for i, (c, s) in enumerate(zip(*both, strict=True))],
        )
        for row, (name, *both) in enumerate(zip(rows, counts.tolist(), shares.tolist(), strict=True))
    ]
    return dict(columns=list(columns), lines=lines)


def draw_curves(log: pd.DataFrame) -> list[Markup]:
    """Draw the curves of a training, each as an SVG."""
    return [to_svg(lambda axis, plot=plot: plot(axis, log)) for plot in CURVES]


def to_svg(draw: Callable[[Axes], None]) -> Markup:
    """Draw a small plot, as an SVG that stands in a page; its text is never read as a formula."""
    settings = {'svg.fonttype': 'none', 'text.parse_math': False, 'font.family': 'sans-serif', 'svg.hashsalt': 'report'}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.6, 3.2), layout='constrained')
        draw(axis := figure.subplots())
        finish(axis)
        file = io.StringIO()
        figure.savefig(file, format='svg', metadata=dict(Date=None))
    text = file.getvalue()
    return Markup(text[text.index('<svg') :])  # matplotlib escapes the text in it
