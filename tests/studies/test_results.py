import re
from pathlib import Path

import pytest

from studies import definition as studies


@pytest.fixture
def make_results(monkeypatch):
    monkeypatch.syspath_prepend('tools')
    import make_results

    return make_results


def test_the_pages_are_what_the_tool_makes_of_the_files(make_results, tmp_path):
    assert Path('docs/results.md').read_text() == make_results.render(), 'run tools/make_results.py'
    assert Path('docs/deployment.md').read_text() == make_results.render_deployment(), 'run tools/make_results.py'
    tables = {path.name for path in Path('benchmarks/results').glob('*.csv')}
    assert tables == set(re.findall('<!-- table of (.*) -->', Path('docs/deployment.md').read_text()))
    for path in Path('studies/configs').glob('*.py'):
        study = studies.Study.load(path)
        studies.write_report(study, studies.read_results(Path(f'studies/results/{study.name}.csv')), tmp_path)
        table = f'{study.name}.md'
        assert Path('studies/results', table).read_text() == (tmp_path / table).read_text(), 'run tools/make_results.py'


@pytest.mark.parametrize(
    ('a', 'b', 'answer'),
    [
        (True, True, 'It was seen in study (a) and study (b). Measured'),
        (None, False, 'It was not seen in study (b), but it cannot be said from study (a). Measured'),
    ],
)
def test_the_conclusion_says_what_was_read(make_results, a, b, answer):
    orders = {'Study (a)': studies.Order(a, 'this'), 'Study (b)': studies.Order(b, 'that')}
    text = '\n'.join(make_results.conclusion(orders, seeds=1))
    assert answer in text
    assert 'with 1 seed each' in text
    assert text.endswith('- Study (a): this.\n- Study (b): that.')


def test_studies_without_rows_make_a_page(make_results, monkeypatch, tmp_path):
    for name in ('paper.csv', 'ilsvrc_sample.csv'):
        (tmp_path / name).write_bytes((make_results.RESULTS / name).read_bytes())
    monkeypatch.setattr(make_results, 'RESULTS', tmp_path)
    assert '- Study (a): not begun.' in make_results.render()
