"""Turn a detector's training log and predictions into a table of AP by class, curves, and drawn detections."""

import argparse
from pathlib import Path

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_arguments, load_config, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('predictions', type=Path, help='what tools/test.py wrote with --out')
    args = parser.parse_args()
    cfg = load_config(args)
    if cfg.get('default_scope') != 'mmdet':
        raise InputError(f'{args.config} is not a detector: give a config whose default_scope is mmdet')
    if not args.predictions.is_file():
        raise InputError(
            f'no predictions {args.predictions}: write them with `tools/test.py ... --out {args.predictions}`'
        )

    from menet_mm.engine.launch import check_data
    from menet_mm.evaluation.report import write_report

    check_data(cfg, 'test')
    write_report(cfg, args.predictions, Path(cfg.work_dir))


if __name__ == '__main__':
    run(main)
