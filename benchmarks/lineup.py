"""Who takes part in each kind of measurement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.contestant import Contestant
from menet_mm.deploy.runtimes import RUNTIMES
from menet_mm.errors import InputError

#: What makes a CPU train faster, each part of which ``--train --passes`` leaves out once.
TRAINING_PARTS = ('products', 'averages', 'keep_memory')
#: What runs a network, torch first.
RUNTIME_NAMES = ('torch', *RUNTIMES)


def precisions_of(runtime: str) -> tuple[str, ...]:
    """The precisions in which a runtime can be measured."""
    if runtime == 'torch':
        return 'fp32', 'bf16'
    found = RUNTIMES[runtime]
    return (*found.precisions, *(['int8'] if found.int8 else []))


def inference(
    networks: Sequence[str],
    runtimes: Sequence[str],
    precisions: Sequence[str] = ('fp32',),
    compiled: bool = False,
    **setting: int,
) -> list[Contestant]:
    """Every network as it is and in our form, in every runtime, and ours in every precision that the runtime has.

    ``setting`` is ``batch`` and ``threads``. The plain networks are pytorchcv's where it has them.

    Raises:
        InputError: if a runtime has none of the precisions.
    """
    for runtime in runtimes:
        if not set(precisions) & set(precisions_of(runtime)):
            raise InputError(f'{runtime} has {" and ".join(precisions_of(runtime))}, not {" or ".join(precisions)}')
    found = []
    for network in networks:
        plain = 'pytorchcv' if Path(network).stem.endswith('_in1k') else 'menet_mm'
        if 'onnxruntime' in runtimes:
            found.append(Contestant(network, plain, 'onnxruntime', 'default', **setting))
        for runtime in runtimes:
            found.append(Contestant(network, plain, runtime, 'plain', **setting))
            found += [
                Contestant(network, 'menet_mm', runtime, 'deploy', precision, **setting)
                for precision in precisions
                if precision in precisions_of(runtime)
            ]
        if compiled and 'torch' in runtimes:
            found.append(Contestant(network, 'menet_mm', 'torch', 'compiled', **setting))
    return found


def training(
    networks: Sequence[str], precisions: Sequence[str] = ('fp32',), compiled: bool = False, **setting: int
) -> list[Contestant]:
    """pytorchcv's network trained plainly, and ours plainly, as the configs do on a CPU, and with more."""
    found = []
    for network in networks:
        forms = ['plain', 'default', 'channels_last', *(['compiled'] if compiled else [])]
        # pytorchcv's networks take 224 px alone.
        ways = [('pytorchcv', 'plain', 'fp32')] if Path(network).stem.endswith('_in1k') else []
        ways += [('menet_mm', form, 'fp32') for form in forms]
        ways += [('menet_mm', 'default', 'bf16')] if 'bf16' in precisions else []
        found += [
            Contestant(network, source, 'torch', form, precision, training=True, **setting)
            for source, form, precision in ways
        ]
    return found


def passes(networks: Sequence[str], runtimes: Sequence[str], **setting: int) -> list[Contestant]:
    """Our form of every network for every runtime, and the same without each pass that it consists of.

    Raises:
        InputError: if none of the runtimes has a pass.
    """
    from menet_mm.deploy.forms import PASSES

    if not any(PASSES[runtime] for runtime in runtimes):
        raise InputError(f'no passes for {" ".join(runtimes)}: choose other --runtimes')
    return [
        Contestant(network, 'menet_mm', runtime, 'deploy', skip=skip, **setting)
        for network in networks
        for runtime in runtimes
        if PASSES[runtime]
        for skip in ('', *PASSES[runtime])
    ]


def training_passes(networks: Sequence[str], **setting: int) -> list[Contestant]:
    """Training as the configs do it on a CPU, and the same without each of :data:`TRAINING_PARTS`."""
    return [
        Contestant(network, 'menet_mm', 'torch', 'default', training=True, skip=skip, **setting)
        for network in networks
        for skip in ('', *TRAINING_PARTS)
    ]


def references(contestants: Sequence[Contestant]) -> list[int]:
    """Whose time each contestant's ratio is to: the whole form if a part was left out of one, otherwise the first.

    Returns:
        An index into ``contestants`` for each of them.
    """
    if not any(contestant.skip for contestant in contestants):
        return [0] * len(contestants)
    whole = {(c.network, c.runtime): i for i, c in enumerate(contestants) if not c.skip}
    return [whole[c.network, c.runtime] for c in contestants]
