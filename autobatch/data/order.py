"""In what order an epoch is seen, and with which seed each sample is augmented.

Everything here is integer arithmetic on `(seed, epoch, index)`: the same on every platform, with every version of
numpy, at any batch size and on any number of workers. The hash is the output function of splitmix64 (Steele, Lea and
Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), folded over its keys.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Order = Callable[[int], npt.NDArray[np.int64]]
"""From an epoch to the indices of its pass, in the order in which they are used."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB

# Keys of their own keep the order of an epoch and the augmentation of its samples independent of each other.
_ORDER = 1
_AUGMENTATION = 2


def fold(*keys: int) -> int:
    """A 64-bit hash of integers, whose order counts; keys are taken modulo 2**64."""
    state = 0
    for key in keys:
        state = (state + (key & _MASK) + _GOLDEN) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state


def mix(seed: int, epoch: int, index: npt.ArrayLike, stream: int = _ORDER) -> npt.NDArray[np.uint64]:
    """A 64-bit hash for each index: `fold(stream, seed, epoch, index)`, vectorised.

    For one seed and epoch different indices have different hashes, because the last step is a bijection.
    """
    state = np.asarray(index).astype(np.uint64)
    # Array arithmetic on uint64 wraps silently, which is what the hash wants; a scalar would warn.
    state = np.atleast_1d(state) + np.uint64((fold(stream, seed, epoch) + _GOLDEN) & _MASK)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_FIRST)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_SECOND)
    return state ^ (state >> np.uint64(31))


def permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The numbers 0 to `count - 1` in the order of one epoch."""
    # Sorting by hash shuffles: hashes of one epoch all differ, so no tie is left to chance or to numpy's version.
    return np.argsort(mix(seed, epoch, np.arange(count)), kind="stable").astype(np.int64)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """The 32-bit seed with which one sample is augmented in one epoch."""
    return fold(_AUGMENTATION, seed, epoch, index) >> 32


def shuffled(seed: int, count: int) -> Order:
    """The order in which every epoch is another permutation of all samples."""

    def order(epoch: int) -> npt.NDArray[np.int64]:
        return permutation(seed, epoch, count)

    return order


def sequential(count: int) -> Order:
    """The order in which every epoch is 0 to `count - 1`."""

    def order(epoch: int) -> npt.NDArray[np.int64]:  # noqa: ARG001 - the same in every epoch
        return np.arange(count, dtype=np.int64)

    return order


def as_indices(indices: Any, count: int) -> npt.NDArray[np.int64]:
    """Indices as an array; an `IndexError` if one is negative or not below `count`."""
    array = np.asarray(indices, dtype=np.int64)
    if array.size and not (array.min() >= 0 and array.max() < count):
        message = f"There are {count:,} samples, numbered from 0. Received: indices from {array.min()} to {array.max()}"
        raise IndexError(message)
    return array
