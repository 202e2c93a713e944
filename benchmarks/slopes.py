"""How a cost grows: the slope of a line through its points where both axes count factors.

0 is flat, 1 is linear, 2 is a square. A fixed part hides what grows beside it, so the steepness towards the largest
points is told apart.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Point = tuple[float, float]
Promise = Literal["flat", "logarithmic", "linear"]

MOST: dict[Promise, float] = {"flat": 0.1, "logarithmic": 0.4, "linear": 1.3}
"""Slopes that still count as such.

A factor of two over a thousand is 0.1. One step more for every doubling of a batch from 1 to 4,096 is 0.31. Sorting
adds a tenth to what is linear, and so does, once, what no longer fits in the processor's caches.
"""
MOST_AT_THE_END = 1.7
"""The last factor of ten may be the one that leaves the caches; a square would be 2 there."""


@dataclass(frozen=True, slots=True)
class Growth:
    """One cost over one quantity.

    Attributes:
        cost: What it is.
        over: What it is plotted against.
        promise: How it may grow.
        samples: From the quantity to the seconds of each turn.
        ours: Whether it is autobatch's; otherwise it is there to compare.
    """

    cost: str
    over: str
    promise: Promise
    samples: dict[int, list[float]]
    ours: bool = True

    @property
    def points(self) -> list[Point]:
        """Median seconds of its turns, in order of the quantity."""
        return [(float(size), statistics.median(self.samples[size])) for size in sorted(self.samples)]

    @property
    def slope(self) -> float:
        """Over all points."""
        return slope(self.points)

    @property
    def at_the_end(self) -> float:
        """Over the last factor of ten or more."""
        return slope(tail(self.points))

    @property
    def kept(self) -> bool:
        """Whether it grows as it may: what is small beside a fixed part shows at the end."""
        return self.slope <= MOST[self.promise] and self.at_the_end <= MOST_AT_THE_END


def slope(points: Sequence[Point]) -> float:
    """The exponent that fits best: `y ~ x ** slope`, by least squares of the logarithms.

    Raises:
        ValueError: Fewer than two different x, or a number that is not above 0.

    Example:
        >>> round(slope([(10, 3.0), (100, 300.0), (1000, 30000.0)]), 3)
        2.0
    """
    logs = [(math.log(x), math.log(y)) for x, y in points]
    middle_x, middle_y = (statistics.fmean(values) for values in zip(*logs, strict=True))
    spread = sum((x - middle_x) ** 2 for x, _ in logs)
    if not spread:
        raise ValueError(f"A slope needs two different places. Received: points={points!r}. Expected several x.")
    return sum((x - middle_x) * (y - middle_y) for x, y in logs) / spread


def tail(points: Sequence[Point], factor: float = 10) -> list[Point]:
    """The last point, and those before it down to the first that lies a factor below; all if none does.

    Example:
        >>> tail([(1, 1.0), (10, 1.0), (100, 1.0), (200, 1.0), (1000, 2.0)])
        [(100, 1.0), (200, 1.0), (1000, 2.0)]
    """
    last = points[-1][0]
    start = max((place for place, (x, _) in enumerate(points) if x * factor <= last), default=0)
    return list(points[start:])
