"""A Python generator of batches; `steps_per_epoch` says what an epoch is."""

from collections.abc import Iterator
from itertools import count

import numpy as np
import toy

import autobatch


def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of ten new pictures, for ever."""
    for seed in count():
        x, y = toy.pictures(10, seed)
        yield x / 255, y


history = autobatch.fit(toy.net(), batches(), batch_size=32, epochs=4, seed=1, steps_per_epoch=8)
print(history.history["accuracy"])
