"""Fit the anchors of an SSD to its data: print how many boxes no anchor finds, before and after, and lines for the config.

The lines go below the `_base_` of a config that inherits CONFIG. They are for training anew: the weights of a detector fit
its own anchors.
"""

import argparse

from menet_mm.errors import InputError
from menet_mm.utils.cli import add_config_and_options, run
from menet_mm.utils.config import read_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_and_options(parser)
    args = parser.parse_args()
    cfg = read_config(args.config, args.cfg_options)
    if cfg.get('default_scope') != 'mmdet':
        raise InputError(f'{args.config} is not a detector: give a config whose default_scope is mmdet')

    from menet_mm.datasets.anchors import REACH, fit_anchors
    from menet_mm.engine.launch import check_data

    check_data(cfg, 'train', 'val')
    fit = fit_anchors(cfg)
    height, width = fit.size
    print(f'# Pictures of {width} x {height}. Boxes that no anchor overlaps by an IoU of {REACH}:')
    for name, (boxes, before, after) in fit.shares.items():
        print(f'# {name}: {before:.1%} of {boxes} before, {after:.1%} with these lines')
    print(fit.to_config())


if __name__ == '__main__':
    run(main)
