"""How much an untried size may need at most, from the peaks of those that were tried.

The fitted line alone is no bound: between two small sizes a few per cent of noise can hide the whole slope, and a jump
to sixteen times the size would then run into a wall. So a size must also pass the worst line that the measurements
allow: every pair of points is pulled apart by the noise, and a single point is extended through the origin, which holds
for any fixed part that is not negative. Each of those lines is an upper bound, so the smallest of them is one too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

from autobatch.memory.peak import PeakModel, fit_peak

# Peaks of one size vary by 1 to 5 % from step to step; the largest of several steps varies less. Far beyond the
# measured sizes that is taken in full, for it grows with the distance; up to twice as far the reserve covers it.
NOISE_FAR = 0.05
NOISE_NEAR = 0.01
# Sizes far below the answer say little about it, and often run other kernels.
_NEAR = 16
_FEWEST = 3


@dataclass(frozen=True, slots=True)
class PeakBound:
    """An upper bound of the peak at any size, for one resource.

    Attributes:
        model: The line fitted to `points`.
        points: The measured `(size, peak_bytes)`, ascending, one for each size.
    """

    model: PeakModel
    points: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, measured: Sequence[tuple[int, int]]) -> Self:
        """The bound that follows from measured `(size, peak_bytes)`, in any order, at least one."""
        highest: dict[int, int] = {}
        for size, peak_bytes in measured:
            highest[size] = max(highest.get(size, 1), peak_bytes)
        points = sorted(highest.items())
        near = points[-1][0] / _NEAR
        kept = tuple(point for i, point in enumerate(points) if point[0] >= near or i >= len(points) - _FEWEST)
        return cls(fit_peak(kept), kept)

    def upper(self, n: int) -> float:
        """Bytes that `n` samples need at most, up to the noise of one measurement; never falls as `n` grows."""
        return max(self.model.upper(n), min(self._worst_of_one(n), self._worst_of_two(n)))

    def _worst_of_one(self, n: int) -> float:
        return min(peak * max(n / size, 1.0) for size, peak in self.points)

    def _worst_of_two(self, n: int) -> float:
        noise = max(NOISE_NEAR if n <= 2 * self.points[-1][0] else NOISE_FAR, self.model.residual)
        worst = float("inf")
        for (small, low), (large, high) in combinations(self.points, 2):
            if n > large:
                slope = max((high * (1 + noise) - low * (1 - noise)) / (large - small), 0.0)
                worst = min(worst, high + slope * (n - large))
        return worst
