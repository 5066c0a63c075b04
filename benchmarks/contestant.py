"""One way to run a network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contestant:
    """One way to run a network.

    Attributes:
        network: a config's name, such as ``menet228_in1k`` or ``ssd_menet228_voc``, or its file.
        source: whose network, ``menet_mm`` or ``pytorchcv``; both have random weights of the same scale.
        runtime: ``torch`` or one of the runtimes of exported models.
        form: of inference ``plain`` (as trained), ``default`` (as torch exports it without any option), ``deploy`` (of
            ``to_deploy``) or ``compiled`` (the same, by ``torch.compile`` with frozen weights). Of training ``plain``,
            ``default`` (what the configs do on a CPU), ``channels_last`` (with that memory format besides) or ``compiled``.
        precision: ``fp32``, ``bf16`` (in torch by autocast) or ``int8``.
        batch: pictures of one measurement.
        threads: threads of the process.
        training: time an iteration of training instead of inference.
        skip: the part of ``form`` that is left out: a pass of ``to_deploy``, or one of
            :data:`benchmarks.lineup.TRAINING_PARTS`; none if empty.
    """

    network: str
    source: str
    runtime: str
    form: str
    precision: str = 'fp32'
    batch: int = 1
    threads: int = 1
    training: bool = False
    skip: str = ''

    def __str__(self) -> str:
        form = f'{self.form} without {self.skip}' if self.skip else self.form
        return (
            f'{self.network} {self.source} {self.runtime} {form} {self.precision}, '
            f'batch {self.batch}, threads {self.threads}'
        )
