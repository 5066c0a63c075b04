"""What our HTML pages share: one style, and pictures inside the page, so that it needs nothing beside it."""

from __future__ import annotations

import base64
import io

from PIL import Image

STYLE = """
body { font: 15px/1.45 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child { text-align: left } h2 small { font-weight: normal; color: #666 }
figure { display: inline-block; margin: .3em; max-width: 440px; vertical-align: top; font-size: 11px; overflow-wrap: anywhere }
li { overflow-wrap: anywhere; font-size: 13px }
"""


def encode_jpeg(image: Image.Image) -> str:
    """Return a picture as the address of a JPEG that an ``img`` of a page takes."""
    file = io.BytesIO()
    image.save(file, 'JPEG', quality=80)
    return 'data:image/jpeg;base64,' + base64.b64encode(file.getvalue()).decode()
