"""An epoch in numbers: the order of its samples, their seeds, and how it is split into updates and micro-batches.

Order and seeds are integer arithmetic on `(seed, epoch, index)`: the same on every platform, with every version of
numpy, at any batch size and on any number of workers. The hash is the output function of splitmix64 (Steele, Lea and
Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014), folded over its keys.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autobatch._arguments import require_count

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


def index_hashes(seed: int, epoch: int, index: npt.ArrayLike, stream: int = _ORDER) -> npt.NDArray[np.uint64]:
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
    return np.argsort(index_hashes(seed, epoch, np.arange(count)), kind="stable").astype(np.int64)


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """The 32-bit seed with which one sample is augmented in one epoch."""
    return fold(_AUGMENTATION, seed, epoch, index) >> 32


def shuffled(seed: int, count: int) -> Order:
    """The order in which every epoch is another permutation of all samples."""
    return lambda epoch: permutation(seed, epoch, count)


def sequential(count: int) -> Order:
    """The order in which every epoch is 0 to `count - 1`."""
    return lambda epoch: np.arange(count, dtype=np.int64)  # noqa: ARG005 - the same in every epoch


def as_indices(indices: Any, count: int) -> npt.NDArray[np.int64]:
    """Indices as an array; an `IndexError` if one is negative or not below `count`."""
    array = np.asarray(indices, dtype=np.int64)
    if array.size and not (array.min() >= 0 and array.max() < count):
        message = f"There are {count:,} samples, numbered from 0. Received: indices from {array.min()} to {array.max()}"
        raise IndexError(message)
    return array


_REFUSED = "A pass cannot be split this way."


def near_equal(count: int, micro: int, group: int = 1) -> tuple[int, ...]:
    """The sizes of the fewest micro-batches of at most `micro` samples that make up `count` samples.

    Sizes differ by at most one group, the larger ones first, so that an update needs at most two compiled shapes. All
    are whole numbers of groups, but for the last group, which may be smaller; no group is cut, even if `micro` is less.

    Example:
        >>> near_equal(10, 4), near_equal(44, 32, group=16)
        ((4, 3, 3), (32, 12))
    """
    require_count(_REFUSED, least=0, optional=False, count=count)
    require_count(_REFUSED, optional=False, micro=micro, group=group)
    if count == 0:
        return ()
    groups = -(-count // group)
    parts = 1 if micro >= count else -(-groups // max(1, micro // group))
    size, larger = divmod(groups, parts)
    sizes = [(size + 1) * group] * larger + [size * group] * (parts - larger)
    return (*sizes[:-1], sizes[-1] - (groups * group - count))


def number_of_updates(samples: int, effective: int) -> int:
    """How many updates one pass takes, a short last one included."""
    require_count(_REFUSED, least=0, optional=False, samples=samples)
    require_count(_REFUSED, optional=False, effective=effective)
    return -(-samples // effective)


def rungs(effective: int, largest: int, group: int = 1) -> tuple[int, ...]:
    """The micro-batch sizes to choose from for one effective batch, descending, from at most `largest` to one group.

    The sizes are those of an effective batch cut into 1, 2, 3, 4, 6, 8, 12, 16, ... parts: few, so that compiled steps
    are reused, and never more than a factor of two apart. All but the whole batch are whole numbers of groups; there
    are none where `largest` is less than a group and than the batch.

    Example:
        >>> rungs(64, 30), rungs(64, 40, group=16)
        ((22, 16, 11, 8, 6, 4, 3, 2, 1), (32, 16))
    """
    require_count(_REFUSED, optional=False, effective=effective, largest=largest, group=group)
    parts, powers, groups = {1}, [2], -(-effective // group)
    while powers[-1] < groups:
        powers.append(powers[-1] * 2)
    for power in powers:
        parts |= {power, power // 2 * 3}
    sizes = {min(effective, -(-groups // count) * group) for count in parts}
    return tuple(sorted((size for size in sizes if size <= largest), reverse=True))


def next_rung(size: int, ladder: Sequence[int]) -> int | None:
    """The largest size of the ladder that is below `size`, `None` when there is none."""
    return max((rung for rung in ladder if rung < size), default=None)
