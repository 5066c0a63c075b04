"""Write docs/results.md, and the tables and plots in studies/results, from the CSV files in studies/results."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import pandas as pd

from menet_mm.evaluation.intervals import MIN_SEEDS
from menet_mm.utils.cli import run
from menet_mm.utils.files import write_text
from studies.definition import Study, count
from studies.rows import finished, read_rows
from studies.summary import Order, read_order, summarize, to_markdown, write_report

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'studies/results'
RIVALS = ['shufflenet050', 'mobilenet025']
ABLATIONS = ['no_side_path', 'no_3x3', 'addition', 'squeeze_excitation', 'k4', 'k12', 'k16', 'k24']
#: Sections of the page: study, heading, models (none: all of them), and rivals over which the paper puts MENet.
SECTIONS = [
    ('tiny_imagenet_100', 'Study (a)', ['menet108', *RIVALS], RIVALS),
    ('voc_subset', 'Study (b)', ['menet108', *RIVALS], RIVALS),
    ('tiny_imagenet_100', 'Ablations of (a)', ['menet108', *ABLATIONS], []),
    ('tiny_imagenet_100_lr', 'Learning rates of (a)', [], []),
    ('voc_subset_lr', 'Learning rates of (b)', [], []),
]
PAGE = """# Results

How accurate MENet is, by four sources: the paper, a retraining by others, the authors' weights run here, and small studies
trained here.

{short}

## ILSVRC 2012

No accuracy in this table was measured here.

- **The paper's** figures are those of the paper or of its repository. For the rivals it gives only the differences above.
- **Retrained by pytorchcv**: its author trained these networks again on the whole of ILSVRC. They are theirs, single runs, with
  recipes not known to be equal. The first figure was measured in the framework of the training. The one in brackets belongs to
  the PyTorch file, which `tools/convert_checkpoint.py` reads. [The CSV file](../studies/results/pytorchcv.csv) names both sources.
- **Parameters and MMACs** (convolutions and linear layer, 224 px) are counted on this code.

{ilsvrc}

## The authors' weights on a sample of ILSVRC 2012

250 validation pictures of 250 classes, in a centre crop of 224 px. For MENet-108, the authors' own code gives the same counts.

{sample}

## Studies

They were trained on CPUs, so the data are small and the trainings short. Only networks of 40 MMACs were compared. The paper
makes its claim at 140 MMACs, on ILSVRC and VOC 2007.

{order}

How to read the tables:

- The mean is over the seeds. The difference to the reference is taken seed by seed.
- A 95 % interval (Student's) is given from {seeds} seeds on. No model has so many where the column is missing.
- Minutes are the median time of an iteration times the number of iterations, mostly with two trainings side by side.
- [The CSV files](../studies/results) have a row for each run, with versions, device, threads and seed.
{sections}
## Make this page again

`python -m studies.results` writes it from the CSV files in `studies/results`. Change those, not this page.
"""


def count_network(config: str) -> tuple[int, float]:
    """Parameters and MMACs of a classifier at 224 px."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope

    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    init_default_scope('mmpretrain')
    return count(MODELS.build(cfg.model).eval(), torch.rand(1, 3, 224, 224))


def ilsvrc_table() -> str:
    """The paper's and pytorchcv's accuracies, and our counts."""
    paper = pd.read_csv(RESULTS / 'paper.csv', dtype=str).set_index('model')
    theirs = pd.read_csv(RESULTS / 'pytorchcv.csv', dtype=str).set_index('network')
    rows = theirs.join(paper[['mflops', 'top1', 'top5']], rsuffix='_paper').fillna('')
    lines = [
        "| network | paper's MFLOPs | paper's top-1 / top-5 | retrained by pytorchcv, top-1 | params | MMACs |",
        '|---|---|---|---|---|---|',
    ]
    for network, row in rows.iterrows():
        accuracy = f'{row.top1_paper} / {row.top5}' if row.top1_paper else '-'
        parameters, mmacs = '-', '-'
        if row.config:
            counts = count_network(row.config)
            parameters, mmacs = f'{counts[0]:,}', f'{counts[1]:.2f}'
        retrained = f'{row.top1} ({row.top1_pytorch})'
        lines.append(f'| {network} | {row.mflops or "-"} | {accuracy} | {retrained} | {parameters} | {mmacs} |')
    return '\n'.join(lines)


def sample_table() -> str:
    lines = ['| weights | right at top-1 | right at top-5 |', '|---|---|---|']
    for row in pd.read_csv(RESULTS / 'ilsvrc_sample.csv').itertuples():
        first, five = (f'{n} of {row.pictures} ({n / row.pictures:.1%})' for n in (row.top1_right, row.top5_right))
        lines.append(f'| {row.weights} | {first} | {five} |')
    return '\n'.join(lines)


def load(name: str, models: list[str]) -> tuple[Study, pd.DataFrame, set]:
    """A study, and rows and keys of those of its jobs that are about these models (none: all of them)."""
    study = Study.load(ROOT / f'studies/configs/{name}.py')
    models = models or study.models
    results = read_rows(RESULTS / f'{name}.csv')
    return study, results[results.model.isin(models)], {job.key for job in study.jobs if job.model in models}


def study_section(name: str, heading: str, models: list[str], rivals: list[str]) -> list[str]:
    """A study's table; its plot, which shows all models, stands where the rivals are compared or nothing was chosen."""
    study, results, jobs = load(name, models)
    done = jobs & finished(results)
    lines = ['', f'### {heading}: {study.title}', '']
    lines += [f'`python -m studies studies/configs/{name}.py`; {len(done)} of {len(jobs)} runs are done.']
    if not done:
        return lines
    summary = summarize(results, study.metric, study.reference)
    metric = f'{study.metric} over {", ".join(study.classes)}' if study.classes else study.metric
    lines += [f'The metric is {metric}.', '', to_markdown(summary, study.reference)]
    if rivals or not models:
        lines += ['', f'![{study.metric} against multiply-adds](../studies/results/{name}.png)']
    return lines


def orders() -> dict[str, Order]:
    """Read each study's order."""
    found = {}
    for name, heading, models, rivals in SECTIONS:
        if rivals:
            study, results, _ = load(name, models)
            unit = ' %' if study.metric.startswith('accuracy') else ''
            found[heading] = Order(None, 'It has not begun')
            if len(results):
                summary = summarize(results, study.metric, study.reference)
                seen, why = read_order(summary, rivals, study.reference, study.floor, unit)
                found[heading] = Order(seen, f'{summary.model[0]} has the highest mean. {why}')
    return found


def conclude(found: dict[str, Order]) -> str:
    """Say in a sentence in which studies the paper's order was seen."""
    answers = {True: 'was seen in', False: 'was not seen in', None: 'cannot be read from'}
    parts = []
    for seen, answer in answers.items():
        headings = [heading.lower() for heading, order in found.items() if order.seen is seen]
        parts += [f'{answer} {" and ".join(headings)}'] if headings else []
    return f"The paper's order of the networks {', but '.join(parts)}."


def short_answer(found: dict[str, Order]) -> str:
    """What a reader needs first: each source's answer in a line or two."""
    top1 = pd.read_csv(RESULTS / 'pytorchcv.csv').set_index('network').top1
    rivals = top1['ShuffleNet 1x (g=3)'], top1['MobileNet 0.5']
    gains = {
        name: ' and '.join(f'{top1[f"MENet-{name} (g={groups})"] - rival:+.2f}' for rival in rivals)
        for name, groups in (('228-12x1', 3), ('256-12x1', 4))
    }
    best = pd.read_csv(RESULTS / 'ilsvrc_sample.csv').iloc[0]
    return '\n'.join(
        [
            '- **The paper** says: at 140 MFLOPs, MENet is 1.0 points of ILSVRC top-1 better than ShuffleNet and 1.95 better than',
            '  MobileNet. On VOC 2007 it is 2.3 and 4.1 points of mAP better.',
            f'- **The retraining by pytorchcv** gives MENet-228 {gains["228-12x1"]} points of top-1 over ShuffleNet 1x and MobileNet 0.5.',
            f'  MENet-256 has {gains["256-12x1"]}.',
            f"- **The authors' weights** of MENet-108 classify {best.top1_right} of {best.pictures} pictures right here, as in their own code.",
            f'- **The studies here** are small. {conclude(found)}',
        ]
    )


def render() -> str:
    """Content of the page."""
    found = orders()
    reasons = [f'- {heading}: {order.why}.' for heading, order in found.items()]
    sections = [line for section in SECTIONS for line in study_section(*section)]
    return PAGE.format(
        short=short_answer(found),
        ilsvrc=ilsvrc_table(),
        sample=sample_table(),
        order='\n'.join([conclude(found), '', *reasons]),
        seeds=MIN_SEEDS,
        sections='\n'.join([*sections, '']),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog='python -m studies.results', description=__doc__)
    parser.parse_args()
    for path in sorted((ROOT / 'studies/configs').glob('*.py')):
        study = Study.load(path)
        results = read_rows(RESULTS / f'{study.name}.csv')
        if len(results):
            write_report(study, results, RESULTS)
    page = ROOT / 'docs/results.md'
    write_text(page, render())
    print(os.path.relpath(page))


if __name__ == '__main__':
    run(main)
