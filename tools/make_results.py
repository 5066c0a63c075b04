"""Write docs/results.md and the tables of docs/deployment.md from the CSV files in docs/results and docs/benchmarks."""

import re
from pathlib import Path

import pandas as pd
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from menet_mm import study as studies

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'docs/results'
RIVALS = ['shufflenet050', 'mobilenet025']
#: Sections of the page: study, heading, models (none: all of them), and rivals over which the paper puts MENet.
SECTIONS = [
    ('tiny_imagenet_100', 'Study (a)', ['menet108', *RIVALS], RIVALS),
    ('voc_subset', 'Study (b)', ['menet108', *RIVALS], RIVALS),
    (
        'tiny_imagenet_100',
        'Ablation',
        ['menet108', 'no_side_path', 'no_3x3', 'addition', 'squeeze_excitation', 'k4', 'k12', 'k16', 'k24'],
        [],
    ),
    ('tiny_imagenet_100_lr', 'Learning rates of (a)', [], []),
    ('voc_subset_lr', 'Learning rates of (b)', [], []),
]
HEAD = """# Results

Made by `tools/make_results.py` from the CSV files in [results](results), which hold versions, device, threads and seed of every
run. What the paper claims: at 140 MFLOPs MENet is 1.0 points of ILSVRC top-1 better than ShuffleNet and 1.95 better than
MobileNet, and 2.3 and 4.1 points of VOC 2007 mAP.

## ILSVRC 2012: the paper's figures, our counts

Accuracies and MFLOPs are **the paper's** (or its repository's), not measured here; the claim above gives the rivals' only as
differences. Parameters and MMACs (convolutions and linear layer, 224 px) are counted on this code.

"""

CERTAINTY = (
    'These are the networks of 40 MMACs, three seeds each, after short trainings on small data: the intervals are what is '
    'known about them, and about 140 MMACs on ILSVRC and VOC 2007, where the paper makes its claim, nothing was measured here.'
)


def count(config: str) -> tuple[int, float]:
    """Parameters, and millions of multiply-adds of convolutions and linear layers, of a classifier at 224 px."""
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model).eval()
    counter = FlopAnalyzer(model, torch.rand(1, 3, 224, 224))
    operators = counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False).by_operator()
    return sum(p.numel() for p in model.parameters()), (operators['conv'] + operators['linear']) / 1e6


def paper_table() -> list[str]:
    lines = [
        "| network | the paper's MFLOPs | the paper's top-1 / top-5 | our params | our MMACs |",
        '|---|---|---|---|---|',
    ]
    for row in pd.read_csv(RESULTS / 'paper.csv', dtype=str).fillna('').itertuples():
        parameters, mmacs = count(row.config)
        accuracy = f'{row.top1} / {row.top5}' if row.top1 else '-'
        lines.append(f'| {row.model} | {row.mflops or "-"} | {accuracy} | {parameters:,} | {mmacs:.2f} |')
    return lines


def sample_table() -> list[str]:
    lines = ['| weights | right at top-1 | right at top-5 |', '|---|---|---|']
    for row in pd.read_csv(RESULTS / 'ilsvrc_sample.csv').itertuples():
        first, five = (f'{n} of {row.pictures} ({n / row.pictures:.1%})' for n in (row.top1_right, row.top5_right))
        lines.append(f'| {row.weights} | {first} | {five} |')
    return lines


def load(name: str, models: list[str]) -> tuple[studies.Study, pd.DataFrame, set]:
    """A study, and rows and keys of those of its jobs that are about these models (none: all of them)."""
    study = studies.Study.load(ROOT / f'studies/{name}.py')
    models = models or [job.model for job in study.jobs]
    results = studies.read_results(RESULTS / f'{name}.csv')
    return study, results[results.model.isin(models)], {job.key for job in study.jobs if job.model in models}


def study_section(name: str, heading: str, models: list[str], rivals: list[str]) -> list[str]:
    study, results, jobs = load(name, models)
    done = jobs & studies.done(results)
    lines = ['', f'## {heading}: {study.title}', '']
    lines += [f'`python tools/compare.py studies/{name}.py`; {len(done)} of {len(jobs)} runs are done.']
    if not done:
        return lines
    summary = studies.summarize(results, study.metric, study.reference)
    metric = f'{study.metric} over {", ".join(study.classes)}' if study.classes else study.metric
    lines += ['', f"{metric}; 95 % intervals are Student's, over seeds; differences are paired by seed.", '']
    lines += [studies.to_markdown(summary, study.reference)]
    if rivals:
        lines += ['', studies.describe_order(summary, rivals, study.reference, study.floor)]
    return [*lines, '', f'![{study.metric} against multiply-adds](results/{name}.png)']


def conclusion() -> list[str]:
    """Say whether the paper's order was seen, and how sure that is."""
    orders = {}
    for name, heading, models, rivals in SECTIONS:
        if rivals:
            study, results, _ = load(name, models)
            summary = studies.summarize(results, study.metric, study.reference)
            orders[heading] = studies.describe_order(summary, rivals, study.reference, study.floor)
    seen = [heading for heading, order in orders.items() if order.startswith(studies.SEEN)]
    answer = f'Yes, in {" and ".join(seen)}.' if seen else 'No, in neither study.'
    lines = ['', "## Was the paper's order seen?", '', f'{answer} {CERTAINTY}', '']
    return lines + [f'- {heading}: {order}' for heading, order in orders.items()]


def render() -> str:
    """Content of the page."""
    lines = [HEAD + '\n'.join(paper_table()), '', "## The authors' weights on a sample of ILSVRC 2012", '']
    lines += [
        "250 validation pictures of 250 classes, centre crop of 224 px; the authors' own code gives the same.",
        '',
    ]
    lines += sample_table()
    lines += conclusion()
    for section in SECTIONS:
        lines += study_section(*section)
    return '\n'.join(lines) + '\n'


def benchmark_table(path: Path) -> str:
    """A table of what tools/benchmark.py wrote, with what it was measured on."""
    rows = pd.read_csv(path)
    first = rows.iloc[0]
    libraries = ', '.join(
        f'{name} {first[name]}' for name in ('torch', 'onnxruntime', 'openvino', 'ncnn') if name in rows
    )
    machine = f'{first.cpu}, {first.cores} cores, Python {first.python}, {libraries}; {first.date}'
    if 'pipeline' in rows:
        lines = ['| pipeline | images/s of a worker (lowest to highest round) | ratio |', '|---|---|---|']
        lines += [
            f'| {row.pipeline} | {row.images_per_second:.0f} ({row.low:.0f} to {row.high:.0f}) | {row.ratio:.2f} |'
            for row in rows.itertuples()
        ]
        return '\n'.join([*lines, '', f'{machine}.'])
    lines = [
        '| network | of | runtime | form | ms (quartiles) | ratio | images/s | peak MB |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for row in rows.itertuples():
        form = row.form if row.precision == 'fp32' else f'{row.form}, {row.precision}'
        lines.append(
            f'| {row.network} | {row.source} | {row.runtime} | {form} | {row.milliseconds:.2f} ({row.low:.2f} to {row.high:.2f}) '
            f'| {row.ratio:.2f} | {row.images_per_second:.1f} | {row.peak_mb} |'
        )
    setting = f'batch {first.batch}, {first.threads} thread{"s" if first.threads > 1 else ""}, medians of {first.rounds} rounds'
    return '\n'.join([*lines, '', f'{setting}; {machine}.'])


def render_deployment() -> str:
    """Content of docs/deployment.md with its tables made anew; they stand behind comments that name their files."""
    page = (ROOT / 'docs/deployment.md').read_text()

    def fill(found: re.Match) -> str:
        return f'{found[1]}\n{benchmark_table(ROOT / "docs/benchmarks" / found[2])}\n<!-- end -->'

    return re.sub(r'(<!-- table of (\S+) -->)\n.*?<!-- end -->', fill, page, flags=re.DOTALL)


if __name__ == '__main__':
    (ROOT / 'docs/deployment.md').write_text(render_deployment())
    print('docs/deployment.md')
    (ROOT / 'docs/results.md').write_text(render())
    print('docs/results.md')
