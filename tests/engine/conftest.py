from collections import Counter
from collections.abc import Callable

import pytest
from torch.utils._python_dispatch import TorchDispatchMode


class Calls(TorchDispatchMode):
    """How often each operator is called."""

    def __init__(self) -> None:
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names[func.__name__.split('.')[0]] += 1
        return func(*args, **kwargs or {})


@pytest.fixture(scope='session')
def calls() -> Callable[..., Counter]:
    """Call a function, and count the operators."""

    def call(function: Callable, *args: object) -> Counter:
        with Calls() as mode:
            function(*args)
        return mode.names

    return call
