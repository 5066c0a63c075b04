"""What Python costs beside pytorchcv's networks: ``python -m benchmarks.overhead [NETWORK ...] [--out FILE.csv]``.

A picture of 32 px is so little work for a CPU that calls take most of the time, as they do on a GPU at any size. The two
networks take turns on one thread, without the layers behind the last map.
"""

import argparse
from statistics import median
from time import perf_counter

import pandas as pd
import torch
from mmengine.registry import MODELS
from pytorchcv.model_provider import get_model
from torch import nn

from benchmarks.build import load_config, pytorchcv_name
from benchmarks.machine import describe_machine
from menet_mm.utils.cli import run


def measure(network: str, rounds: int) -> dict[str, float]:
    """Return the medians of pytorchcv's milliseconds, of ours, and of the ratio of the two in each round."""
    backbone = load_config(network).model.backbone
    theirs = nn.Sequential(*list(get_model(pytorchcv_name(backbone)).features)[:-1])
    networks, times = [MODELS.build(backbone).eval(), theirs.eval()], ([], [])
    picture = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        for number in range(rounds + 5):  # the first ones warm up
            for model, found in zip(networks, times, strict=True):
                begun = perf_counter()
                model(picture)
                found += [1e3 * (perf_counter() - begun)] * (number >= 5)
    ours, rival = map(median, times)
    return dict(plain_ms=rival, ours_ms=ours, ratio=median(a / b for a, b in zip(*times, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('networks', nargs='*', default=['menet228_in1k', 'shufflenet1x_in1k', 'mobilenet050_in1k'])
    parser.add_argument('--rounds', type=int, default=200)
    parser.add_argument('--out', help='a CSV file')
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = [dict(what=name, **measure(name, args.rounds)) for name in args.networks]
    table = pd.DataFrame([dict(row, **describe_machine(['torch', 'pytorchcv'])) for row in rows])
    print(table[['what', 'plain_ms', 'ours_ms', 'ratio']].to_string(index=False, float_format='{:.3f}'.format))
    if args.out:
        table.to_csv(args.out, index=False, float_format='%.3f')


if __name__ == '__main__':
    run(main)
