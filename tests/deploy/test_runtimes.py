"""Each runtime by itself: what it writes computes the same, in batches and for several threads at once."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from menet_mm import InputError
from menet_mm.deploy.exporter import quiet
from menet_mm.deploy.runtimes import RUNTIMES, runtime_of

ALL = list(RUNTIMES)


class TwoOutputs(nn.Module):
    """A small network, deep enough that threads meet in it."""

    outputs = ('sums', 'features')

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers = [layer for _ in range(4) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.ReLU())]
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(16, 5)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(image)
        return self.fc(features), features


@pytest.fixture(scope='module')
def network() -> TwoOutputs:
    return TwoOutputs().eval()


@pytest.fixture(scope='module')
def batch() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, 3, 64, 48)).astype(np.float32)


@pytest.fixture(scope='module')
def wanted(network, batch) -> list[np.ndarray]:
    with torch.inference_mode():
        return [value.numpy() for value in network(torch.from_numpy(batch))]


@pytest.fixture(scope='module')
def files(network, batch, tmp_path_factory) -> dict[str, SimpleNamespace]:
    """The network in the files of all runtimes."""
    folder = tmp_path_factory.mktemp('runtimes')
    paths = {name: folder / name / f'model{runtime.suffix}' for name, runtime in RUNTIMES.items()}
    for name, path in paths.items():
        path.parent.mkdir()
        with quiet():
            RUNTIMES[name].write(network, torch.from_numpy(batch[:1]), path, RUNTIMES[name].dynamic_batch)
    return paths


def load(name: str, path, **options):
    runtime = RUNTIMES[name]
    return runtime.load(path, runtime.input_name, runtime.output_names(TwoOutputs.outputs), threads=1, **options)


@pytest.mark.parametrize('name', ALL)
def test_every_picture_of_a_batch_is_computed(name, files, batch, wanted):
    infer = load(name, files[name])
    mirrored = np.ascontiguousarray(batch[..., ::-1])
    for given in (batch[:1], batch[:7], mirrored[..., ::-1]):  # the last is no plain block of memory
        found = infer(given)
        assert [len(values) for values in found] == [len(given)] * 2
        for values, right in zip(found, wanted, strict=True):
            assert values == pytest.approx(right[: len(given)], abs=1e-4)


@pytest.mark.parametrize('name', ALL)
def test_all_outputs_are_the_default(name, files, batch, wanted):
    found = RUNTIMES[name].load(files[name], RUNTIMES[name].input_name)(batch[:1])
    assert sorted(values.shape for values in found) == [(1, 5), (1, 16)]


@pytest.mark.parametrize('name', ALL)
def test_threads_get_their_own_answers(name, files, batch, wanted):
    infer = load(name, files[name])

    def ask(i: int) -> bool:
        found = infer(batch[i % 12 : i % 12 + 1])
        return all(
            np.allclose(values[0], right[i % 12], atol=1e-4) for values, right in zip(found, wanted, strict=True)
        )

    with ThreadPoolExecutor(4) as pool:
        right = list(pool.map(ask, range(400)))
    assert right.count(False) == 0


@pytest.mark.parametrize('name', ALL)
def test_the_files_are_those_that_the_table_names(name, files):
    path = files[name]
    assert runtime_of(path) is RUNTIMES[name]
    assert set(RUNTIMES[name].files(path)) == set(path.parent.iterdir())


@pytest.mark.parametrize('name', ALL)
def test_what_a_runtime_cannot_do_is_said(name, files):
    runtime = RUNTIMES[name]
    for options in (dict(int8=True), dict(dynamic_batch=True)):
        (option,) = options
        if not getattr(runtime, option):
            with pytest.raises(
                InputError, match=f'{name} .*--{option.replace("_", "-")}: leave it out, or use .onnx or .xml'
            ):
                runtime.check(**options)
        else:
            with quiet():
                runtime.check(**options)
    with pytest.raises(InputError, match=f"{name} computes in fp32.*, but got 'fp8'"):
        load(name, files[name], precision='fp8')
