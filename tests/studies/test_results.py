"""docs/results.md and the tables in studies/results are what the tool makes of the CSV files."""

from pathlib import Path

from studies import results
from studies.definition import Study
from studies.rows import read_rows
from studies.summary import Order, summarize, to_markdown


def test_the_page_and_the_tables_are_up_to_date():
    assert Path('docs/results.md').read_text() == results.render(), 'run `python -m studies.results`'
    for path in Path('studies/configs').glob('*.py'):
        study = Study.load(path)
        rows = read_rows(Path(f'studies/results/{study.name}.csv'))
        table = to_markdown(summarize(rows, study.metric, study.reference), study.reference)
        written = Path(f'studies/results/{study.name}.md').read_text()
        assert written == f'{table}\n', 'run `python -m studies.results`'


def test_help_answers_and_does_no_work(tool):
    before = Path('docs/results.md').stat().st_mtime_ns
    assert 'usage: python -m studies.results' in tool('studies.results', '--help').stdout
    assert Path('docs/results.md').stat().st_mtime_ns == before


def test_the_conclusion_depends_on_what_was_read_and_names_every_study():
    answers = [True, False, None]
    texts = [results.conclude({'Study (a)': Order(a, ''), 'Study (b)': Order(b, '')}) for a in answers for b in answers]
    assert len(set(texts)) == len(texts)
    assert all(text.count('study (a)') == text.count('study (b)') == 1 for text in texts)


def test_studies_without_rows_make_a_page(monkeypatch, tmp_path):
    for name in ('paper.csv', 'pytorchcv.csv', 'ilsvrc_sample.csv'):
        (tmp_path / name).write_bytes((results.RESULTS / name).read_bytes())
    monkeypatch.setattr(results, 'RESULTS', tmp_path)
    monkeypatch.setattr(results, 'count_network', lambda config: (1, 1.0))
    assert {order.seen for order in results.orders().values()} == {None}
    assert '## Studies' in results.render()
