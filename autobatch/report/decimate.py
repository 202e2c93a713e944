"""Lines of thousands of points on paper that is a few hundred points wide."""

import itertools
import math
from collections.abc import Sequence

from autobatch.report.svg import Point


def decimate(points: Sequence[Point], *, per_column: float = 1.0) -> list[Point]:
    """The same line with at most two points in each column of the paper: the lowest and the highest, and both ends.

    Args:
        points: From left to right.
        per_column: How wide a column is, in units of the drawing.
    """
    if len(points) < 3:
        return list(points)
    kept = [points[0]]
    for _, column in itertools.groupby(points[1:-1], key=lambda point: math.floor(point[0] / per_column)):
        numbered = list(enumerate(column))
        ends = {min(numbered, key=_height), max(numbered, key=_height)}
        kept += [point for _, point in sorted(ends)]
    return [*kept, points[-1]]


def _height(numbered: tuple[int, Point]) -> float:
    return numbered[1][1]
