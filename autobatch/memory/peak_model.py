"""The peak model: how much memory a step of n samples needs, learned from steps that ran.

`peak(n) = fixed + per_sample * n`, fitted by least squares of the *relative* deviations, because what is asked of it is
a ratio (does it fit, within a few per cent). The model knows how far off it was where it was measured, and widens its
margin by that, and by how far beyond the largest measured size it is asked.

The allocation profile: what a step asks for at its highest, from recordings of its allocations at two sizes. Each
allocation of a step takes a part that is always the same and a part for each sample, and lives from one moment of the
step to another. Two recordings tell both parts of each, and so what is alive at any moment, at any size: a line for
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

from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class PeakModel:
    """Predicts the peak of a step from its number of samples."""

    fixed_bytes: float  # what a step needs whatever its size
    per_sample_bytes: float
    residual: float  # the largest relative deviation of a measured peak from the model
    largest_size: int  # the largest size that was measured; beyond it the margin grows
    least_bytes: float = 0.0  # no prediction is below it: with one size measured, its peak

    def predict(self, size: int) -> int:
        return math.ceil(max(self.least_bytes, self.fixed_bytes + self.per_sample_bytes * size))

    def margin_bytes(self, size: int) -> int:
        """Returns what to add to the prediction so that it holds.

        1 % for what varies from step to step, the model's own residual, and 2 % for every doubling beyond the largest
        measured size.
        """
        doublings = math.log2(max(1.0, size / self.largest_size))
        return math.ceil(self.predict(size) * (0.01 + self.residual + 0.02 * doublings))

    def upper(self, size: int) -> int:
        """Returns the prediction with its margin, in bytes; it never falls as `size` grows."""
        return self.predict(size) + self.margin_bytes(size)


def fit_peak(points: Sequence[tuple[int, int]]) -> PeakModel:
    """Returns the model that fits measured peaks best (pairs of samples and bytes), with neither part below zero.

    With a single size m measured, `peak(n) = peak(m) * max(n / m, 1)`: no model of the family that goes through that
    point predicts more, for any n above m (a fixed part only flattens the line) or below.
    """
    if not points or any(size < 1 or peak < 0 for size, peak in points):
        raise ArgumentError(
            "A peak model rests on measured steps. "
            f"Received: points={points!r}. Expected at least one pair of a size from 1 up and a peak in bytes."
        )
    largest = max(size for size, _ in points)
    if len({size for size, _ in points}) == 1:
        peak = max(peak for _, peak in points)
        spread = max(_deviation(peak, measured) for _, measured in points)
        return PeakModel(0.0, peak / largest, spread, largest, least_bytes=float(peak))
    fixed, per_sample = min(_candidates(points), key=lambda line: _cost(points, *line))
    residual = max(_deviation(fixed + per_sample * size, peak) for size, peak in points)
    return PeakModel(fixed, per_sample, residual, largest)


def _candidates(points: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Returns the lines among which the best is: the two on the borders, and the free one where it is allowed."""
    rows = [(1.0 / max(peak, 1) ** 2, size, peak) for size, peak in points]
    total = math.fsum(w for w, _, _ in rows)
    mean_size = math.fsum(w * n for w, n, _ in rows) / total
    mean_peak = math.fsum(w * p for w, _, p in rows) / total
    steepest = math.fsum(w * n * p for w, n, p in rows) / math.fsum(w * n * n for w, n, _ in rows)
    # Around the means, because the plain normal equations lose the digits that tell near sizes apart.
    spread = math.fsum(w * (n - mean_size) ** 2 for w, n, _ in rows)
    per_sample = math.fsum(w * (n - mean_size) * (p - mean_peak) for w, n, p in rows) / spread
    fixed = mean_peak - per_sample * mean_size
    lines = [(mean_peak, 0.0), (0.0, steepest)]
    return [*lines, (fixed, per_sample)] if fixed >= 0 and per_sample >= 0 else lines


def _cost(points: Sequence[tuple[int, int]], fixed: float, per_sample: float) -> float:
    return math.fsum(_deviation(fixed + per_sample * size, peak) ** 2 for size, peak in points)


def _deviation(predicted: float, measured: int) -> float:
    return abs(predicted - measured) / max(measured, 1)


Line = tuple[float, float]  # a fixed part and a part per sample


@dataclass(frozen=True, slots=True)
class Allocation:
    begin: int  # the moment at which it was asked for, counted from the step's begin
    end: int  # the moment at which it was given back, or one after the last
    size_bytes: int
    name: str  # the operation that asked


@dataclass(frozen=True, slots=True)
class AllocationProfile:
    """What a step asks for at its highest, at any size."""

    lines: tuple[Line, ...]  # in bytes, for each moment that is the highest at some size

    @classmethod
    def of(cls, one: tuple[int, Sequence[Allocation]], other: tuple[int, Sequence[Allocation]]) -> Self | None:
        """Returns what follows from recordings of one step at two sizes (in samples), `None` where they tell nothing.

        The order in which operations run differs from step to step, so the moments of both count.
        """
        if one[0] == other[0] or not one[1] or not other[1]:
            return None
        lines = [*_moments(one, other), *_moments(other, one)]
        return cls(tuple(_highest(lines)))

    def at(self, size: int) -> float:
        """Returns the bytes that a step of `size` samples asks for at its highest."""
        return max(fixed + per_sample * size for fixed, per_sample in self.lines)

    def times(self, factor: float) -> Self:
        """Returns the profile of something that takes `factor` bytes for each byte of a step."""
        return type(self)(tuple((fixed * factor, per_sample * factor) for fixed, per_sample in self.lines))

    def to_list(self) -> list[list[int]]:
        """The lines as JSON-ready values, in whole bytes, rounded up."""
        return [[math.ceil(part) for part in line] for line in self.lines]

    @classmethod
    def from_list(cls, values: Sequence[Sequence[float]]) -> Self:
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
    """The allocations of each operation, the largest first."""
    named: dict[str, list[Allocation]] = defaultdict(list)
    for allocation in sorted(allocations, key=lambda allocation: -allocation.size_bytes):
        named[allocation.name].append(allocation)
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
