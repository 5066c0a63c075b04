import re
import sys
from pathlib import Path


def test_the_pages_are_what_the_tool_makes_of_the_files():
    sys.path.insert(0, 'tools')
    from make_results import render, render_deployment

    assert Path('docs/results.md').read_text() == render(), 'run tools/make_results.py'
    assert Path('docs/deployment.md').read_text() == render_deployment(), 'run tools/make_results.py'
    tables = {path.name for path in Path('docs/benchmarks').glob('*.csv')}
    assert tables == set(re.findall('<!-- table of (.*) -->', Path('docs/deployment.md').read_text()))
