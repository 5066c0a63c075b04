"""Evaluate a detector of MMDetection or a classifier of MMPretrain; the config says which."""

from __future__ import annotations

import argparse

from menet_mm.deploy.runtimes import is_exported
from menet_mm.errors import InputError
from menet_mm.utils.cli import (
    add_config_arguments,
    add_tile_arguments,
    add_trust_argument,
    add_verbose_argument,
    check_tile_arguments,
    load_config,
    run,
)

#: What mmengine can write, by --out-item.
ENDINGS = {'pred': ('.pkl', '.pickle'), 'metrics': ('.json', '.yaml', '.yml', '.pkl', '.pickle')}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file, or a model of tools/export.py')
    parser.add_argument(
        '--precision', choices=['fp32', 'bf16'], default='fp32', help='of an exported model (bf16: OpenVINO)'
    )
    parser.add_argument(
        '--out', metavar='FILE', help='write predictions (.pkl), or metrics with --out-item metrics (.json)'
    )
    parser.add_argument('--out-item', choices=['pred', 'metrics'], default='pred', help='what --out writes')
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir', metavar='DIR', help='draw predictions into this folder (a detector: of work_dir/<timestamp>)'
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show shows a picture')
    parser.add_argument('--interval', type=int, default=1, help='draw or show every n-th picture')
    parser.add_argument('--amp', action='store_true', help='evaluate with automatic mixed precision (GPU)')
    parser.add_argument('--tta', action='store_true', help='average over flips, or what tta_pipeline says')
    add_tile_arguments(parser)
    add_trust_argument(parser)
    add_verbose_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # mmengine would find out at the end of the test.
    if args.out and not args.out.endswith(ENDINGS[args.out_item]):
        raise InputError(f'--out {args.out} must end in .pkl, or with --out-item metrics in .json')
    check_tile_arguments(args)
    if args.tile and args.tta:
        raise InputError('--tile and --tta do not go together: leave out one')
    cfg = load_config(args)
    if args.tile and cfg.default_scope != 'mmdet':
        raise InputError('--tile is for detectors, but this config is a classifier: leave it out')

    import mmengine
    from mmengine.config import ConfigDict

    from menet_mm.engine import launch
    from menet_mm.engine.terminal import announce
    from menet_mm.evaluation.dump import dump_metric

    if is_exported(args.checkpoint):
        if args.amp or args.tta:
            raise InputError(f'--amp and --tta are for checkpoints, but {args.checkpoint} is an exported model')
        cfg.model = ConfigDict(type='menet_mm.ExportedModel', path=args.checkpoint, precision=args.precision)
        cfg.pop('data_preprocessor', None)
        cfg.load_from = None
    elif args.precision != 'fp32':
        raise InputError('--precision is for exported models; for checkpoints there is --amp, on a GPU')
    else:
        launch.check_checkpoint(args.checkpoint, args.trust_checkpoint)
        cfg.load_from = args.checkpoint
    if args.tta and (args.show or args.show_dir) and cfg.default_scope == 'mmpretrain':
        raise InputError(
            '--tta cannot draw: MMPretrain draws single views only; leave out --tta, or --show and --show-dir'
        )
    if args.amp:
        import torch

        if not torch.cuda.is_available():
            raise InputError('--amp needs a GPU, and torch sees none: leave it out')
        cfg.test_cfg.fp16 = True
    if args.show or args.show_dir:
        launch.draw_results(cfg, args.show, args.show_dir, args.wait_time, args.interval)
    if args.tta:
        launch.use_tta(cfg)
    if args.tile:
        launch.use_tiles(cfg, args.tile, args.overlap)

    launch.check_data(cfg, 'test')
    with launch.explain_build_errors():
        runner = launch.build_runner(cfg, quiet=not args.verbose)
        announce(runner, 'Testing')
        if args.out and args.out_item == 'pred':
            runner.test_evaluator.metrics.append(dump_metric(cfg.default_scope, args.out))
        metrics = runner.test()
    if args.out and args.out_item == 'metrics':
        mmengine.dump(metrics, args.out)


if __name__ == '__main__':
    run(main)
