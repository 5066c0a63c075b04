from pathlib import Path

import pytest

from benchmarks.tables import RESULTS, refresh, to_markdown
from menet_mm import InputError

PAGES = [page for page in sorted(Path('docs').glob('*.md')) if '\n<!-- table of ' in page.read_text()]
HEADER = 'network,source,runtime,form,precision,batch,threads,milliseconds,low,high,ratio,rounds,cpu,vectors,cores,python,torch,date'
ROW = 'menet,menet_mm,{},deploy,{},1,1,5.654,5,6.5,0.58,9,CPU,AVX2,2,3.11,2.11,2026-11-27'


@pytest.fixture
def results(tmp_path) -> Path:
    rows = [ROW.format('onnxruntime', 'fp32'), ROW.format('openvino', 'int8')]
    (tmp_path / 'rows.csv').write_text('\n'.join([HEADER, *rows]) + '\n')
    return tmp_path


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_files(page):
    text = page.read_text()
    assert text == refresh(text), 'run python -m benchmarks.tables'


@pytest.mark.parametrize('path', sorted(RESULTS.glob('*.csv')), ids=lambda path: path.name)
def test_every_file_is_described_and_makes_a_table(path):
    assert f'`{path.name}`' in (RESULTS / 'README.md').read_text()
    assert to_markdown(path).startswith('| ')


def test_a_page_is_refreshed_between_its_comments(results):
    page = 'a `<!-- table of x -->`\n<!-- table of rows.csv -->\nold\n<!-- end -->\nb\n<!-- table of rows.csv runtime=openvino -->\n<!-- end -->\nc'
    anew = refresh(page, results)
    fast = '| menet | menet_mm | onnxruntime | deploy | 5.65 (5.00 to 6.50) | 0.58 |'
    small = '| menet | menet_mm | openvino | deploy, int8 | 5.65 (5.00 to 6.50) | 0.58 |'
    assert anew.count(fast) == 1
    assert anew.count(small) == 2
    assert 'old' not in anew
    assert [line for line in anew.splitlines() if len(line) == 1] == ['b', 'c']
    assert (
        'Ratios to menet of menet_mm, onnxruntime, deploy; batch 1, 1 thread, medians of 9 rounds; CPU with AVX2'
        in anew
    )
    assert refresh(anew, results) == anew


def test_a_pass_that_was_left_out_is_named(results):
    rows = [ROW.format('onnxruntime', 'fp32'), ROW.format('onnxruntime', 'fp32')]
    (results / 'rows.csv').write_text(f'{HEADER},skip\n{rows[0]},\n{rows[1]},pad_stem\n')
    table = to_markdown(results / 'rows.csv')
    assert '| onnxruntime | deploy | 5.65' in table
    assert '| onnxruntime | deploy without pad_stem | 5.65' in table
    assert 'Ratios to the whole form' in table


@pytest.mark.parametrize(
    ('comment', 'message'),
    [
        ('<!-- table of none.csv -->', 'no file .*none.csv: measure it with'),
        ('<!-- table of rows.csv engine=torch -->', 'rows.csv has no column engine'),
        ('<!-- table of rows.csv runtime=ncnn -->', 'rows.csv has no row with runtime=ncnn'),
        ('<!-- table of rows.csv, with AVX2 -->', 'another form than <!-- table of FILE.csv -->'),
        ('<!-- table of rows.csv -->\n<!-- table of rows.csv -->', 'no <!-- end --> follows'),
    ],
)
def test_a_wrong_comment_ends_in_a_sentence(results, comment, message):
    with pytest.raises(InputError, match=message):
        refresh(f'{comment}\n<!-- end -->', results)
