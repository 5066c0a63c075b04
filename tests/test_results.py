import sys
from pathlib import Path


def test_the_page_is_what_the_tool_makes_of_the_files():
    sys.path.insert(0, 'tools')
    from make_results import render

    assert Path('docs/results.md').read_text() == render(), 'run tools/make_results.py'
