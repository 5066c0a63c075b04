"""Turn a detector's training log and predictions into a table of AP by class, curves, and drawn detections."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_arguments, load_config, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('predictions', type=Path, help='what tools/test.py wrote with --out')
    args = parser.parse_args()
    cfg = load_config(args)

    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    from menet_mm.engine.launch import check_data
    from menet_mm.evaluation import report

    if cfg.default_scope != 'mmdet':
        raise InputError(f'{args.config} is not a detector: give a config whose default_scope is mmdet')
    if not args.predictions.is_file():
        raise InputError(
            f'no predictions {args.predictions}: write them with `tools/test.py ... --out {args.predictions}`'
        )
    check_data(cfg, 'test')
    work_dir = Path(cfg.work_dir)
    init_default_scope('mmdet')
    log = report.read_log(work_dir)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    predictions = report.read_predictions(args.predictions)
    detections, annotations = report.match(dataset, predictions)
    table = report.ap_by_class(
        dataset.metainfo['classes'], detections, annotations, cfg.test_evaluator.get('eval_mode', '11points')
    )

    out = work_dir / 'report'
    out.mkdir(parents=True, exist_ok=True)
    table.to_csv(out / 'ap_by_class.csv', index=False, float_format='%.4f')
    report.plot_curves(log, out / 'curves.png')
    report.draw_detections(dataset, predictions, detections, annotations, out / 'detections.png')

    drawn = Table(*table.columns, title=f'AP at IoU 0.5 of {len(dataset)} pictures')
    for row in table.itertuples(index=False):
        fractions = ('-' if value != value else f'{value:.3f}' for value in (row.recall, row.ap))  # NaN is not itself
        drawn.add_row(row[0], str(row.objects), str(row.detections), *fractions)
    Console().print(drawn)
    checkpoint = work_dir / 'last_checkpoint'
    print(f'checkpoint:       {checkpoint.read_text() if checkpoint.is_file() else "none in " + str(work_dir)}')
    print(f'AP by class:      {out / "ap_by_class.csv"}')
    print(f'loss, mAP curves: {out / "curves.png"}')
    print(f'drawn detections: {out / "detections.png"} (best pictures first, then the worst; ground truth on the left)')


if __name__ == '__main__':
    run(main)
