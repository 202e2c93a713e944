"""The moments of a step at which its memory may be highest, from recordings of its allocations at two sizes.

Each allocation of a step takes a part that is always the same and a part for each sample, and lives from one moment of
the step to another. Two recordings tell both parts of each, and so what is alive at any moment, at any size: a line for
each moment, of which the highest counts. (Replaying a recorded step to predict another is what xMem does for jobs that
have not run on a GPU yet, arXiv:2510.21048; here it is asked for other sizes of the same step.)

Covered: what the framework asks its allocator for. Not covered: what the allocator adds to that by rounding and by
holes, what libraries take from the system themselves, and kernels that are chosen by the size of their input.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

Line = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Allocation:
    """A piece of memory that a step asked for.

    Attributes:
        begin: The number of the moment at which it was asked for; moments are counted from the step's begin.
        end: The moment at which it was given back, or one after the last.
        size_bytes: What was asked for.
        name: The operation that asked.
    """

    begin: int
    end: int
    size_bytes: int
    name: str


@dataclass(frozen=True, slots=True)
class Moments:
    """What a step asks for at its highest, at any size.

    Attributes:
        lines: A fixed part and a part per sample in bytes, for each moment that is the highest at some size.
    """

    lines: tuple[Line, ...]

    @classmethod
    def of(cls, one: tuple[int, Sequence[Allocation]], other: tuple[int, Sequence[Allocation]]) -> Self | None:
        """What follows from two recordings of one step; `None` where they tell nothing.

        The order in which operations run differs from step to step, so the moments of both count.

        Args:
            one: A size in samples, and what the step asked for.
            other: The same for another size.
        """
        if one[0] == other[0] or not one[1] or not other[1]:
            return None
        lines = [*_moments(one, other), *_moments(other, one)]
        return cls(tuple(_highest(lines)))

    def at(self, size: int) -> float:
        """Bytes that a step of `size` samples asks for at its highest."""
        return max(fixed + per_sample * size for fixed, per_sample in self.lines)

    def times(self, factor: float) -> Self:
        """The same for something that takes `factor` bytes for each byte of a step."""
        return type(self)(tuple((fixed * factor, per_sample * factor) for fixed, per_sample in self.lines))

    def to_list(self) -> list[list[int]]:
        """The lines as JSON-ready values, in whole bytes, rounded up; `from_list` reads them back."""
        return [[math.ceil(part) for part in line] for line in self.lines]

    @classmethod
    def from_list(cls, values: Sequence[Sequence[float]]) -> Self:
        """The moments that `to_list` wrote.

        Raises:
            ValueError: There is no line, or one that has not two parts.
        """
        lines = tuple((float(fixed), float(per_sample)) for fixed, per_sample in values)
        if not lines:
            raise ValueError(f"Received: {values!r}. Expected at least one pair of bytes.")
        return cls(lines)


def _moments(played: tuple[int, Sequence[Allocation]], beside: tuple[int, Sequence[Allocation]]) -> list[Line]:
    """A line for each moment of one recording, whose parts are told by the other."""
    size, allocations = played
    other_size, others = beside
    last = max(allocation.end for allocation in allocations)
    fixed, per_sample = [0.0] * (last + 1), [0.0] * (last + 1)
    theirs = _by_name(others)
    for name, mine in _by_name(allocations).items():
        # An operation may ask for several pieces in any order: the largest belongs to the largest.
        for place, allocation in enumerate(mine):
            partner = theirs[name][place].size_bytes if place < len(theirs.get(name, ())) else None
            line = _parts(size, allocation.size_bytes, other_size, partner)
            for part, value in zip((fixed, per_sample), line, strict=True):
                part[allocation.begin] += value
                part[allocation.end] -= value
    return list(zip(accumulate(fixed), accumulate(per_sample), strict=True))


def _by_name(allocations: Iterable[Allocation]) -> dict[str, list[Allocation]]:
    named: dict[str, list[Allocation]] = defaultdict(list)
    for allocation in allocations:
        named[allocation.name].append(allocation)
    for several in named.values():
        several.sort(key=lambda allocation: -allocation.size_bytes)
    return dict(named)


def _parts(size: int, size_bytes: int, other_size: int, other_bytes: int | None) -> Line:
    """What is fixed of an allocation, and what comes with each sample; all of it, where that can't be told."""
    if other_bytes is None:
        return 0.0, size_bytes / size
    per_sample = (other_bytes - size_bytes) / (other_size - size)
    fixed = size_bytes - per_sample * size
    if per_sample < 0 or fixed < 0:
        # Another kernel, or none of a pair: it takes at most the larger share for each sample.
        return 0.0, max(size_bytes / size, other_bytes / other_size)
    return fixed, per_sample


def _highest(lines: Iterable[Line]) -> list[Line]:
    """The lines that are above all others at some size from 0 up, the flattest first."""
    kept: list[Line] = []
    for fixed, slope in sorted(lines, key=lambda line: (line[1], line[0])):
        while kept and (kept[-1][0] <= fixed or (len(kept) > 1 and not _shows(kept[-2], kept[-1], (fixed, slope)))):
            kept.pop()
        kept.append((fixed, slope))
    return kept


def _shows(flat: Line, middle: Line, steep: Line) -> bool:
    """Whether the middle one of three lines, each steeper than the one before, is the highest somewhere."""
    overtaken = (flat[0] - middle[0]) * (steep[1] - flat[1]), (flat[0] - steep[0]) * (middle[1] - flat[1])
    return overtaken[0] < overtaken[1]
