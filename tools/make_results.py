"""Write docs/results.md, its tables and plots, and the tables of docs/deployment.md.

All come from the CSV files in docs/results and benchmarks/results.
"""

import re
from pathlib import Path

import pandas as pd
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from studies import definition as studies

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / 'studies/results'
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

Made by `tools/make_results.py` from the CSV files in [results](../studies/results), which hold versions, device, threads and seed of every
run; minutes are the median time of an iteration times their number, mostly with two trainings side by side. What the paper
claims: at 140 MFLOPs MENet is 1.0 points of ILSVRC top-1 better than ShuffleNet and 1.95 better than
MobileNet, and 2.3 and 4.1 points of VOC 2007 mAP.

## ILSVRC 2012: the paper's figures, our counts

Accuracies and MFLOPs are **the paper's** (or its repository's), not measured here; the claim above gives the rivals' only as
differences. Parameters and MMACs (convolutions and linear layer, 224 px) are counted on this code.

"""


def count(config: str) -> tuple[int, float]:
    """Parameters and MMACs of a classifier at 224 px."""
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    init_default_scope('mmpretrain')
    return studies.count(MODELS.build(cfg.model).eval(), torch.rand(1, 3, 224, 224))


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
    study = studies.Study.load(ROOT / f'studies/configs/{name}.py')
    models = models or [job.model for job in study.jobs]
    results = studies.read_results(RESULTS / f'{name}.csv')
    return study, results[results.model.isin(models)], {job.key for job in study.jobs if job.model in models}


def study_section(name: str, heading: str, models: list[str], rivals: list[str]) -> list[str]:
    study, results, jobs = load(name, models)
    done = jobs & studies.done(results)
    lines = ['', f'## {heading}: {study.title}', '']
    lines += [f'`python -m studies studies/configs/{name}.py`; {len(done)} of {len(jobs)} runs are done.']
    if not done:
        return lines
    summary = studies.summarize(results, study.metric, study.reference)
    metric = f'{study.metric} over {", ".join(study.classes)}' if study.classes else study.metric
    lines += ['', f"{metric}; 95 % intervals are Student's, over seeds; differences are paired by seed.", '']
    lines += [studies.to_markdown(summary, study.reference)]
    return [*lines, '', f'![{study.metric} against multiply-adds](../studies/results/{name}.png)']


def conclusion(orders: dict[str, studies.Order], seeds: int) -> list[str]:
    """Say in two sentences whether the paper's order was seen and how sure that is, and then why.

    Args:
        orders: what was read from each study.
        seeds: runs of each network.
    """
    answers = {True: 'it was seen in', False: 'it was not seen in', None: 'it cannot be said from'}
    parts = []
    for seen, answer in answers.items():
        headings = [heading.lower() for heading, order in orders.items() if order.seen is seen]
        parts += [f'{answer} {" and ".join(headings)}'] if headings else []
    answer = ', but '.join(parts)
    return [
        '',
        "## Was the paper's order seen?",
        '',
        f'{answer[0].upper()}{answer[1:]}. Measured were the networks of 40 MMACs alone, with {seeds} seed{"s" * (seeds > 1)} each, '
        'briefly and on small data: the intervals are what is known about them, and nothing was measured at 140 MMACs on '
        'ILSVRC and VOC 2007, where the paper makes its claim.',
        '',
        *(f'- {heading}: {order.why}.' for heading, order in orders.items()),
    ]


def orders() -> tuple[dict[str, studies.Order], int]:
    """Read each study's order, and count the seeds that all networks have."""
    found, seeds = {}, []
    for name, heading, models, rivals in SECTIONS:
        if rivals:
            study, results, _ = load(name, models)
            unit = '%' if study.metric.startswith('accuracy') else ''
            if len(results):
                summary = studies.summarize(results, study.metric, study.reference)
                found[heading] = studies.read_order(summary, rivals, study.reference, study.floor, unit)
            else:
                found[heading] = studies.Order(None, 'not begun')
            seeds += [int((results.model == model).sum()) for model in models]
    return found, min(seeds)


def render() -> str:
    """Content of the page."""
    lines = [HEAD + '\n'.join(paper_table()), '', "## The authors' weights on a sample of ILSVRC 2012", '']
    lines += [
        "250 validation pictures of 250 classes, centre crop of 224 px; the authors' own code gives the same.",
        '',
    ]
    lines += sample_table()
    lines += conclusion(*orders())
    for section in SECTIONS:
        lines += study_section(*section)
    return '\n'.join(lines) + '\n'


def benchmark_table(path: Path) -> str:
    """A table of what -m benchmarks wrote, with what it was measured on."""
    rows = pd.read_csv(path)
    first = rows.iloc[0]
    libraries = ', '.join(
        f'{name} {first[name]}' for name in ('torch', 'onnxruntime', 'openvino', 'ncnn') if name in rows
    )
    machine = f'{first.cpu} with {first.vectors}, {first.cores} cores, Python {first.python}, {libraries}; {first.date}'
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
        return f'{found[1]}\n{benchmark_table(ROOT / "benchmarks/results" / found[2])}\n<!-- end -->'

    return re.sub(r'(<!-- table of (\S+) -->)\n.*?<!-- end -->', fill, page, flags=re.DOTALL)


def main() -> None:
    for path in sorted((ROOT / 'studies/configs').glob('*.py')):
        study = studies.Study.load(path)
        results = studies.read_results(RESULTS / f'{study.name}.csv')
        if len(results):
            studies.write_report(study, results, RESULTS)
    for name, content in (('deployment', render_deployment()), ('results', render())):
        (ROOT / f'docs/{name}.md').write_text(content)
        print(f'docs/{name}.md')


if __name__ == '__main__':
    main()
