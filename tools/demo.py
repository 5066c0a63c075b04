"""Try a detector or a classifier on pictures, videos and a camera, on a page in the browser of this machine."""

import argparse
from importlib.util import find_spec
from pathlib import Path

from menet_mm.deploy.runtimes import runtime_of
from menet_mm.errors import InputError
from menet_mm.utils.cli import add_trust_argument, run
from menet_mm.utils.config import find_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or a name such as ssd_menet228_voc')
    parser.add_argument('checkpoint', help='checkpoint: a file or an http(s) address')
    parser.add_argument(
        '--exported', nargs='+', default=[], metavar='FILE', help='exported models (.onnx, .xml, .param) beside it'
    )
    parser.add_argument('--score-thr', type=float, default=0.3, help='score threshold at the start (default: 0.3)')
    parser.add_argument('--host', default='127.0.0.1', help='address to listen on (default: this machine alone)')
    parser.add_argument('--port', type=int, default=7860, help='port to listen on (default: 7860)')
    parser.add_argument('--device', help='torch device; a GPU if there is one')
    add_trust_argument(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    find_config(args.config)
    if '://' not in args.checkpoint and not Path(args.checkpoint).is_file():
        raise InputError(f'no checkpoint {args.checkpoint}: give a file that a training left')
    for path in args.exported:
        runtime_of(path)
        if not Path(path).is_file():
            raise InputError(f'no model {path}: make it with tools/export.py')
    if not 0 <= args.score_thr <= 1:
        raise InputError(f'--score-thr must lie in 0..1, but got {args.score_thr:g}')
    if not 0 < args.port < 65_536:
        raise InputError(f'--port must lie in 1..65535, but got {args.port}')
    if not find_spec('gradio'):
        raise InputError('the page needs gradio: run `pip install -c requirements/onedl.txt -e ".[demo]"`')
    from menet_mm.apis.demo import Demo, Exported, Trained  # torch and the MM libraries
    from menet_mm.apis.page import serve

    trained = Trained(args.config, args.checkpoint, args.device, args.trust_checkpoint)
    serve(Demo([trained, *map(Exported, args.exported)]), args.host, args.port, args.score_thr)


if __name__ == '__main__':
    run(main)
