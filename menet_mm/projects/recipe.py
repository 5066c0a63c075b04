"""How long, and in what batches, a network is fine-tuned on a number of pictures."""

from __future__ import annotations

from dataclasses import dataclass

#: By task: the largest batch on a CPU and on a GPU, and the epochs for 100 pictures with the fewest and the most.
SETTINGS = dict(detector=((8, 16), 127, (12, 120)), classifier=((32, 64), 30, (8, 60)))
WARM_UP = 300  # iterations at most, and at most a tenth of the training


@dataclass
class Recipe:
    """What a config needs.

    Attributes:
        batch: pictures of one process.
        epochs, val_interval: length of the training, and epochs between two tests.
        warm_up: iterations in which the learning rate rises.
        average: share of the newest weights in the averaged ones, as mmengine's ``EMAHook`` takes it.
        workers: processes that load pictures.
    """

    batch: int
    epochs: int
    val_interval: int
    warm_up: int
    average: float
    workers: int


def fit_recipe(pictures: int, task: str = 'detector', gpu: bool = False) -> Recipe:
    """Fit a recipe to the number of pictures to train on; ``task`` is ``detector`` or ``classifier``.

    Ten times as many pictures are seen a third as often.
    """
    batches, base, (fewest, most) = SETTINGS[task]
    # A few iterations an epoch, also of few pictures; batch norm needs two.
    batch = min(batches[gpu], max(2, pictures // 3))
    epochs = round(min(most, max(fewest, base * (100 / pictures) ** 0.5)))
    iterations = epochs * max(1, pictures // batch)
    return Recipe(
        batch,
        epochs,
        val_interval=max(1, epochs // 8),
        warm_up=max(1, min(WARM_UP, iterations // 10)),
        # The average reaches back over a tenth of the training.
        average=round(min(0.5, 10 / iterations), 5),
        workers=4 if gpu else 1,
    )
