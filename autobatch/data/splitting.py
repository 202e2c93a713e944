"""How a pass is split into updates, and an update into micro-batches. Numbers in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from autobatch._arguments import require_count

_REFUSED = "A pass cannot be split this way."


def near_equal(count: int, micro: int) -> tuple[int, ...]:
    """The sizes of the fewest micro-batches of at most `micro` samples that make up `count` samples.

    Sizes differ by at most one, the larger ones first, so that an update needs at most two compiled shapes.

    Example:
        >>> near_equal(48, 20)
        (16, 16, 16)
        >>> near_equal(10, 4)
        (4, 3, 3)
    """
    require_count(_REFUSED, least=0, optional=False, count=count)
    require_count(_REFUSED, optional=False, micro=micro)
    if count == 0:
        return ()
    parts = -(-count // micro)
    size, larger = divmod(count, parts)
    return (size + 1,) * larger + (size,) * (parts - larger)


@dataclass(frozen=True, slots=True)
class Updates(Sequence[tuple[int, int]]):
    """The windows `(start, stop)` of a pass, one for each update; only the last may be short."""

    samples: int
    effective_batch_size: int

    def __post_init__(self) -> None:
        require_count(_REFUSED, least=0, optional=False, samples=self.samples)
        require_count(_REFUSED, optional=False, effective_batch_size=self.effective_batch_size)

    def __len__(self) -> int:
        return len(range(0, self.samples, self.effective_batch_size))

    @overload
    def __getitem__(self, index: int) -> tuple[int, int]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[tuple[int, int], ...]: ...
    def __getitem__(self, index: int | slice) -> tuple[int, int] | tuple[tuple[int, int], ...]:
        """The window of one update, or those of a slice of them."""
        starts = range(0, self.samples, self.effective_batch_size)
        if isinstance(index, slice):
            return tuple(self._window(start) for start in starts[index])
        return self._window(starts[index])

    def _window(self, start: int) -> tuple[int, int]:
        return start, min(start + self.effective_batch_size, self.samples)


def updates(samples: int, effective: int) -> Updates:
    """The windows of a pass over `samples` samples, `effective` behind each update.

    Example:
        >>> list(updates(100, 48))
        [(0, 48), (48, 96), (96, 100)]
    """
    return Updates(samples, effective)


def number_of_updates(samples: int, effective: int) -> int:
    """How many updates one pass takes, a short last one included."""
    return len(Updates(samples, effective))


def rungs(effective: int, largest: int) -> tuple[int, ...]:
    """The micro-batch sizes to choose from for one effective batch, descending, from at most `largest` down to 1.

    The sizes are those of an effective batch cut into 1, 2, 3, 4, 6, 8, 12, 16, ... parts: few, so that compiled steps
    are reused, and never more than a factor of two apart.

    Example:
        >>> rungs(64, 64)
        (64, 32, 22, 16, 11, 8, 6, 4, 3, 2, 1)
        >>> rungs(64, 30)
        (22, 16, 11, 8, 6, 4, 3, 2, 1)
    """
    require_count(_REFUSED, optional=False, effective=effective, largest=largest)
    parts, powers = {1}, [2]
    while powers[-1] < effective:
        powers.append(powers[-1] * 2)
    for power in powers:
        parts |= {power, power // 2 * 3}
    sizes = {-(-effective // count) for count in parts}
    return tuple(sorted((size for size in sizes if size <= largest), reverse=True))


def next_rung(size: int, ladder: Sequence[int]) -> int | None:
    """The largest size of the ladder that is below `size`, `None` when there is none."""
    return max((rung for rung in ladder if rung < size), default=None)
