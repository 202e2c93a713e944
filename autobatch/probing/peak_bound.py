"""How much an untried size may need at most, from the peaks of those that were tried.

A step has several moments at which its memory may be highest: the end of the forward pass, the widest layer of the
backward pass, the optimizer's update. Each takes a fixed part and a part per sample, so the peak is the largest of a
few lines: it bends upwards, and a line through two small sizes runs below it, far below for many parameters.
What holds whatever the lines are: bytes per sample never rise with the size, so a measured peak, extended through the
origin, is an upper bound. Near the answer it is a tight one. Where the fixed part is large the measured slope helps,
taken steeper than it was, as soon as it has made a fifth of the peak: until then it may hide another. Where the
allocations of a step were recorded the lines are known, up to what the allocator adds to what it is asked for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

from autobatch.memory.peak_model import AllocationProfile, PeakModel, fit_peak

# Peaks of one size vary by 1 % and more from trial to trial, and the last per cent of a pool is full of holes. A pool
# that rounds up its pieces, and kernels that change with the size, put neighbouring sizes up to 8 % off their line; the
# nearer two sizes, the less of that lies between.
_LEAST_OFF = 0.02
_NOISE, _NOISE_FAR = 0.01, 0.05
_OFF_PER_DOUBLING = 0.05
_MOST_OFF = 0.08
# How much steeper than measured the peak may get: up to a quarter beyond the largest size, if one within a fourth of it
# was tried, and otherwise. Beyond twice the largest size all of the noise counts.
_SOON, _STEEPER_SOON, _STEEPER = 1.25, 1.3, 2.0
_APART = 4
_FAR = 2.0
# A slope that has made this much of the peak is believed further out: what does not grow may hide another, steeper one.
_SEEN = 0.2
_REACH, _REACH_UNSEEN = 4, 2

# Sizes far below the answer say little about it, and often run other kernels.
_NEAR = 16
_FEWEST = 3
# Bytes that a process grows by for each byte that a step asks for: a pool does not split pieces that are nearly right,
# and has holes. Up to 1.29 for the bytes that a pool counts as used, and 1.34 for resident ones (MobileNetV2, 2 to 64);
# a step of a few large pieces may come to 2, as would the bound through the origin.
_WASTE = 1.35


@dataclass(frozen=True, slots=True)
class PeakBound:
    """An upper bound of the peak at any size, for one resource."""

    model: PeakModel  # the line fitted to the largest few sizes that were measured
    # The measured `(size, peak_bytes)`, ascending; each peak raised to what a smaller size lets expect at least.
    points: tuple[tuple[int, int], ...]
    profile: AllocationProfile | None = None  # what a step asks for, `None` where that was not recorded

    @classmethod
    def of(cls, measured: Sequence[tuple[int, int]], profile: AllocationProfile | None = None) -> Self:
        highest: dict[int, int] = {}
        for size, peak_bytes in measured:
            highest[size] = max(highest.get(size, 1), peak_bytes)
        points = sorted(highest.items())
        near = points[-1][0] / _NEAR
        kept = [point for i, point in enumerate(points) if point[0] >= near or i >= len(points) - _FEWEST]

        def rising(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
            # A peak that has grown by less than what was asked for was a stroke of luck.
            more = profile.at(other[0]) - profile.at(one[0]) if profile else 0.0
            return other[0], max(one[1] + math.ceil(more), other[1])

        return cls(fit_peak(kept[-_FEWEST:]), tuple(accumulate(kept, rising)), profile)

    def predict(self, n: int) -> float:
        """Bytes that `n` samples are expected to need: what was measured, and beyond it as a step's requests grow."""
        large, high = self.points[-1]
        if self.profile is None or n <= large or not self.profile.at(large):
            return self.model.predict(n)
        return high * self.profile.at(n) / self.profile.at(large)

    def hoped(self, n: int) -> float:
        """Bytes that `upper` is expected to come to once a size next to `n` has run: less can never be shown."""
        return self.predict(n) * (1 + _LEAST_OFF)

    def upper(self, n: int) -> float:
        """Bytes that `n` samples need at most, up to the noise of one measurement; never falls as `n` grows."""
        through_origin = min(peak * max(n / size, 1.0) * (1 + _margin(n / size)) for size, peak in self.points)
        return min(through_origin, self._along(n) if self.profile is None else self._by_profile(n, self.profile))

    def _by_profile(self, n: int, profile: AllocationProfile) -> float:
        """From the largest size on, by what a step asks for beyond what it asked for there."""
        large, high = self.points[-1]
        if n <= large:
            return math.inf
        asked = [(profile.at(large) - profile.at(small), low) for small, low in self.points]
        grown = [(high - low) / more for more, low in asked if more > 0 and high - low >= _SEEN * high]
        return high * (1 + _LEAST_OFF) + max([_WASTE, *grown]) * (profile.at(n) - profile.at(large))

    def _along(self, n: int) -> float:
        """From the largest size on, by the steepest slope that leads there, and steeper beyond it."""
        *smaller, (large, high) = self.points
        seen = [(small, low) for small, low in smaller if high - low >= _SEEN * high]
        if not smaller or n <= large or n > (_REACH if seen else _REACH_UNSEEN) * large:
            return math.inf
        noise = _NOISE if n <= _FAR * large else _NOISE_FAR
        slope = max((high * (1 + noise) - low * (1 - noise)) / (large - small) for small, low in seen or smaller)
        soon = seen and n <= _SOON * large and n <= _APART * seen[-1][0]
        steeper = _STEEPER_SOON if soon else _STEEPER
        return high * (1 + _margin(n / large)) + steeper * slope * (n - large)


def _margin(ratio: float) -> float:
    """How far a size may be off what another one, so many times smaller, says."""
    return _LEAST_OFF + min(_MOST_OFF, _OFF_PER_DOUBLING * math.log2(max(ratio, 1.0)))


class OutsideAllocator:
    """What a process takes of a GPU outside its allocator: the context, loaded kernels, workspaces of cuBLAS and cuDNN.

    The allocator does not count it and the driver does, so it is in the difference of the two. So are holes, and what
    the allocator has taken ahead (TensorFlow's doubles what it takes each time): each difference is too large rather
    than too small. What really lies outside is in all of them, so the least is the best known. Not covered: what the
    allocator had taken ahead before the first trial hides as much of what comes later, and a process that holds the
    whole GPU already shows nothing.

    Example:
        >>> outside = OutsideAllocator()
        >>> outside.after(own_bytes=900, in_use_bytes=300), outside.after(own_bytes=4000, in_use_bytes=2200)
        (600, 600)
    """

    def __init__(self) -> None:
        self._least: int | None = None

    def after(self, own_bytes: int | None, in_use_bytes: int) -> int:
        """The bytes to add to what the allocator says, from what is known after a trial.

        Args:
            own_bytes: What the driver books on the process of the trials, above its baseline; `None` for unknown.
            in_use_bytes: The most that its allocator has had in use in that trial, above the same baseline.
        """
        if own_bytes is not None:
            here = max(0, own_bytes - in_use_bytes)
            self._least = here if self._least is None else min(self._least, here)
        return self._least or 0
