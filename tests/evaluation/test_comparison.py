"""Several runs beside each other: groups, figures by hand, and work dirs that lack something or mean harm."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from menet_mm import InputError
from menet_mm.evaluation.comparison import write_comparison
from menet_mm.evaluation.groups import find_differences, find_groups, tabulate
from menet_mm.evaluation.runs import measure, measure_time, read_dump, read_run

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>$x_{'
CONFIG = dict(
    lr=0.1,  # a variable of the file, which stands in it a second time
    model=dict(type='SSD', backbone=dict(arch='a', out_indices=(1, 2)), **{'odd-key': {'a-b': None}}),
    optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
    train_dataloader=dict(dataset=dict(pipeline=[dict(type='Load'), dict(type='Flip', prob=0.5)])),
    load_from='weights.pth',
)


def write_run(
    path: Path,
    seed: int = 0,
    result: float = 0.5,
    options: dict | None = None,
    classes: tuple[str, str] = ('a', 'b'),
    stamp: str = '20260101_000000',
    metric: str = 'pascal_voc/mAP',
) -> Path:
    """A work dir as training, test and report leave it, with 40 iterations of half a second and two validations."""
    folder = path / stamp / 'vis_data'
    folder.mkdir(parents=True)
    cfg = Config(CONFIG)
    cfg.merge_from_dict({'randomness.seed': seed, 'work_dir': str(path), 'lr': seed, **(options or {})})
    cfg.dump(folder / 'config.py')
    lines = [dict(loss=2 / i, lr=0.1, time=0.5, iter=20 * i, step=20 * i, epoch=i) for i in (1, 2)]
    lines += [{metric: result + 0.1, 'step': 1}, {metric: result, 'step': 2}]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)) + '\n{"loss": 1.')
    (path / stamp / f'{stamp}.log').write_text('    PyTorch: 2.12\n')
    (path / 'report').mkdir(exist_ok=True)
    rows = [
        f'"{classes[0].replace(chr(34), chr(34) * 2)}",1,2,1,{result - 0.1}',
        f'{classes[1]},1,2,1,',
        f'mean,2,4,,{result - 0.1}',
    ]
    (path / 'report/ap_by_class.csv').write_text('\n'.join(['class,objects,detections,recall,ap', *rows]))
    (path / 'report/facts.json').write_text(json.dumps({'parameters': '1,234', 'multiply-adds': '5 million'}))
    return path


def test_groups_and_paired_differences(tmp_path):
    """The differences are 1 to 5 hundredths: their mean is 0.03, their deviation sqrt(2.5), and t(0.975, 4) is 2.7764."""
    for seed in range(5):
        write_run(tmp_path / f'a/seed{seed}', seed, 0.3 + 0.1 * seed)
        write_run(tmp_path / f'b/seed{seed}', seed, 0.31 + 0.11 * seed, {'optim_wrapper.optimizer.lr': 0.2})
    runs = [read_run(path, str(path.relative_to(tmp_path))) for path in sorted(tmp_path.glob('?/seed*'))]
    groups = find_groups(runs)
    assert [group.name for group in groups] == ['A a', 'B b']
    assert [len(group.runs) for group in groups] == [5, 5]
    assert find_differences(groups) == [('optim_wrapper.optimizer.lr', ['0.1', '0.2'])]
    table = tabulate(groups, measure)
    first, second = table['pascal_voc/mAP, last']
    assert (first.mean, first.lowest, first.highest, first.count) == pytest.approx((0.5, 0.3, 0.7, 5))
    assert first.difference.pairs == 0
    assert second.difference == pytest.approx((0.03, 0.01 * 2.7764 * np.sqrt(2.5 / 5), 5), abs=1e-6)
    assert second.clear
    assert table['pascal_voc/mAP, best'][0].mean == pytest.approx(0.6)
    assert table['training loss, last'][0].mean == 1
    assert table['mAP at IoU 0.5, test set'][1].mean == pytest.approx(0.43)
    minutes, seconds = tabulate(groups, measure_time).values()
    assert minutes[0].mean == pytest.approx(40 * 0.5 / 60)
    assert seconds[0].mean == 0.5


def test_fewer_than_five_pairs_have_no_interval_and_other_seeds_are_no_pairs(tmp_path):
    for name, seeds, arch in (('a', (0, 1, 2), 'a'), ('b', (1, 2, 7), 'b'), ('c', (8,), 'c')):
        for seed in seeds:
            write_run(tmp_path / name / str(seed), seed, 0.1 * seed, {'model.backbone.arch': arch})
    groups = find_groups(read_run(path, str(path.relative_to(tmp_path))) for path in sorted(tmp_path.glob('?/?')))
    _, second, third = tabulate(groups, measure)['pascal_voc/mAP, last']
    assert second.difference == pytest.approx((0, np.nan, 2), nan_ok=True, abs=1e-9)
    assert third.difference.pairs == 0
    assert not second.clear
    assert not third.clear


def test_a_resumed_run_is_of_the_same_group(tmp_path):
    """With other weights to begin from in the last config, a log of two parts, and the seed of the log where none is set."""
    write_run(tmp_path / 'a')
    write_run(tmp_path / 'b', 1)
    resumed = dict(resume=True, load_from=None)
    write_run(tmp_path / 'b', 1, options=resumed, stamp='20260101_100000')
    for stamp in ('20260101_000000', '20260101_100000'):
        write_run(tmp_path / 'c', options={'randomness.seed': None}, stamp=stamp)
        (tmp_path / f'c/{stamp}/{stamp}.log').write_text('    seed: 77\n')
    groups = find_groups(read_run(tmp_path / name, name) for name in 'abc')
    assert [[(run.name, run.seed) for run in group.runs] for group in groups] == [[('a', '0'), ('b', '1'), ('c', '77')]]


def test_settings_that_differ_are_named(tmp_path):
    pipeline = [dict(type='Load'), dict(type='Flip', prob=0.5), dict(type='Pad')]
    for name, options in dict(
        a={},
        b={'train_dataloader.dataset.pipeline.1.prob': 0.25},
        c={'model.neck.type': 'FPN'},
        d={'train_dataloader.dataset.pipeline': pipeline},
    ).items():
        write_run(tmp_path / name, options=options)
    a, b, c, d = find_groups(read_run(tmp_path / name, name) for name in 'abcd')
    assert find_differences([a, b]) == [('train_dataloader.dataset.pipeline.1.prob', ['0.5', '0.25'])]
    assert find_differences([a, c]) == [('model.neck', ['not set', "{'type': 'FPN'}"])]
    ((key, values),) = find_differences([a, d])
    assert key == 'train_dataloader.dataset.pipeline'
    assert 'Pad' in values[1]


def plain(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize('name', ['ssd_menet228_voc', 'menet108_tiny100', 'faster_rcnn_menet108_voc'])
def test_a_dumped_config_is_read_as_mmengine_reads_it(tmp_path, name):
    Config.fromfile(f'configs/{name}.py').dump(tmp_path / 'x.py')
    assert read_dump(tmp_path / 'x.py') == plain(Config.fromfile(tmp_path / 'x.py').to_dict())


def test_no_config_is_run(tmp_path):
    created, path = tmp_path / 'created', write_run(tmp_path / 'a')
    program = f'import os\nos.system("touch {created}")\nmodel = os.system("touch {created}")\nlr = dict(**model)\n'
    (path / '20260101_000000/vis_data/config.py').write_text(program)
    run = read_run(path, 'a')
    assert run.config['model'].startswith('os.system(')
    write_comparison([path, write_run(tmp_path / 'b')], tmp_path / 'x.html')
    assert not created.exists()
    os.system(f'{program.splitlines()[1][11:-2]}')
    assert created.exists()  # so it was a real threat


def test_text_of_the_runs_is_only_text(tmp_path, assert_harmless):
    name = HOSTILE.replace('/', '|')  # of a folder
    paths = [
        write_run(
            tmp_path / f'{name}{number}',
            options={'model.backbone.arch': f'{HOSTILE}{number}'},
            classes=(HOSTILE, 'b'),
            metric=f'accuracy/{HOSTILE}',
        )
        for number in range(2)
    ]
    for number, path in enumerate(paths):
        (path / 'report/facts.json').write_text(json.dumps(dict(parameters=HOSTILE)))
        (path / '20260101_000000/20260101_000000.log').write_text(f'    PyTorch: {HOSTILE}{number}\n')
    paths.append(tmp_path / name)
    paths[-1].mkdir()
    write_comparison(paths, tmp_path / 'x.html')
    text = (tmp_path / 'x.html').read_text()
    assert_harmless(text)
    assert text.count('&lt;script&gt;alert(1)') > 15
    assert '>nan<' not in text


def test_a_run_that_lacks_a_file_has_one_sentence(tmp_path, capsys):
    paths = {name: write_run(tmp_path / name) for name in ('whole', 'log', 'config', 'report', 'facts', 'half')}
    paths['odd'] = write_run(tmp_path / 'odd', options=dict(randomness='seed'))
    (paths['odd'] / '20260101_000000/20260101_000000.log').write_text('9999/99/99 99:99:99 - mmengine')
    with (paths['odd'] / '20260101_000000/vis_data/scalars.json').open('ab') as file:
        file.write(b'\n[]\n{"loss": "1"}\n{"accuracy/\\ud800": 1e999, "step": 1}\n\xff{}\n')
    paths['empty'] = tmp_path / 'empty'
    paths['empty'].mkdir()
    (paths['log'] / '20260101_000000/vis_data/scalars.json').unlink()
    (paths['config'] / '20260101_000000/vis_data/config.py').write_text('model = dict(')
    (paths['report'] / 'report/ap_by_class.csv').unlink()
    (paths['facts'] / 'report/facts.json').write_text('[')
    (paths['half'] / 'report/ap_by_class.csv').write_bytes(b'class,objec\xff\n"a')
    write_comparison(list(paths.values()), tmp_path / 'x.html')
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith('note: ')]
    for name, expected in dict(
        log='no training log in',
        config='no config of',
        report='no results by class',
        facts='no number of',
        half='no results',
    ).items():
        (note,) = (note for note in notes if str(paths[name]) in note)
        assert expected in note
    assert len([note for note in notes if str(paths['empty']) in note]) == 2
    assert not [note for note in notes if str(paths['whole']) in note or str(paths['odd']) in note]
    assert 'no training log in' in (tmp_path / 'x.html').read_text()


def test_what_cannot_be_compared_is_said(tmp_path):
    path, empty = write_run(tmp_path / 'a'), tmp_path / 'empty'
    empty.mkdir()
    (tmp_path / 'other').mkdir()
    for folders, expected in (
        ([path], 'takes two work dirs or more'),
        ([path, path], 'stands twice'),
        ([path, tmp_path / 'none'], 'none is no folder'),
        ([empty, tmp_path / 'other'], 'none of the 2 folders has a training log or a report'),
    ):
        with pytest.raises(InputError, match=expected):
            write_comparison(folders, tmp_path / 'x.html')
    assert not (tmp_path / 'x.html').exists()


def test_the_command(tool_here, tmp_path):
    paths = [write_run(tmp_path / name, seed, 0.2 + 0.1 * seed) for seed, name in enumerate('ab')]
    said = tool_here('report.py', '--compare', *paths, '--out', tmp_path / 'x.html')
    assert f'page: {tmp_path / "x.html"}' in said
    text = (tmp_path / 'x.html').read_text()
    assert '<span>0.250</span><small>0.200 to 0.300</small>' in text
    assert '<tr><td>a</td><td><span>0.150</span><small>0.100 to 0.200</small>' in text  # a class
    assert '1,234' in text
    with pytest.raises(SystemExit, match='--out goes with --compare'):
        tool_here('report.py', 'ssd_menet228_voc', 'x.pkl', '--out', tmp_path / 'y.html')
