"""Train a detector with MMDetection or a classifier with MMPretrain; the config says which."""

import argparse

from menet_mm.errors import InputError
from menet_mm.utils.cli import (
    add_config_arguments,
    add_trust_argument,
    add_verbose_argument,
    load_config,
    run,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, or without a path from the latest one in the work dir',
    )
    parser.add_argument(
        '--checkpoint-minutes', type=float, metavar='N', help='save within an epoch, too, every N minutes'
    )
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision (GPU)')
    parser.add_argument(
        '--compile', action='store_true', help='train with backbone and neck translated by torch.compile'
    )
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the actual batch size over all GPUs'
    )
    add_trust_argument(parser)
    add_verbose_argument(parser)
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)

    import torch

    from menet_mm.checkpoints import use_tensors_only
    from menet_mm.engine.launch import (
        build_runner,
        check_batches,
        check_checkpoint,
        check_data,
        compile_parts,
        explain_build_errors,
    )
    from menet_mm.engine.terminal import announce

    if args.amp:
        if not torch.cuda.is_available():
            raise InputError('--amp needs a GPU, and torch sees none: leave it out')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise InputError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config, which has none')
        cfg.auto_scale_lr.enable = True
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.checkpoint_minutes is not None:
        cfg.merge_from_dict({'default_hooks.within_epoch.minutes': args.checkpoint_minutes})
    use_tensors_only(args.trust_checkpoint)
    if args.resume:
        if args.resume != 'auto':
            check_checkpoint(args.resume, args.trust_checkpoint)
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume

    check_data(cfg, 'train', 'val')
    with explain_build_errors():
        runner = build_runner(cfg, quiet=not args.verbose)
        check_batches(runner)
        announce(runner, 'Training')
        if args.compile:
            compile_parts(runner)
        runner.train()


if __name__ == '__main__':
    run(main)
