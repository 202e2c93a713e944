"""The peak model: how much memory a step of n samples needs, learned from steps that ran.

`peak(n) = fixed + per_sample * n`, fitted by least squares of the *relative* deviations, because what is asked of it is
a ratio (does it fit, within a few per cent). The model knows how far off it was where it was measured, and widens its
margin by that, and by how far beyond the largest measured size it is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from autobatch.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class PeakModel:
    """Predicts the peak of a step from its number of samples.

    Attributes:
        fixed_bytes: What a step needs whatever its size.
        per_sample_bytes: What each sample adds.
        residual: The largest relative deviation of a measured peak from the model.
        largest_size: The largest size that was measured; beyond it the margin grows.
        least_bytes: No prediction is below it. With one size measured, that size's peak: nothing smaller is known.
    """

    fixed_bytes: float
    per_sample_bytes: float
    residual: float
    largest_size: int
    least_bytes: float = 0.0

    def predict(self, size: int) -> int:
        """Returns the peak expected of `size` samples, in bytes."""
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
    """Returns the model that fits measured peaks best, with neither part below zero.

    With a single size m measured, `peak(n) = peak(m) * max(n / m, 1)`: no model of the family that goes through that
    point predicts more, for any n above m (a fixed part only flattens the line) or below.

    Args:
        points: Pairs of size (samples) and measured peak (bytes).

    Raises:
        ArgumentError: There is no point, a size is below 1 or a peak below 0.

    Example:
        >>> model = fit_peak([(2, 1_200), (8, 1_800), (32, 4_200)])
        >>> round(model.fixed_bytes), round(model.per_sample_bytes), model.predict(64)
        (1000, 100, 7400)
    """
    if not points or any(size < 1 or peak < 0 for size, peak in points):
        raise ArgumentError(
            "A peak model rests on measured steps. "
            f"Received: points={points!r}. Expected at least one pair of a size from 1 up and a peak in bytes."
        )
    largest = max(size for size, _ in points)
    if len({size for size, _ in points}) == 1:
        peak = max(peak for _, peak in points)
        return PeakModel(0.0, peak / largest, _spread(points, peak), largest, least_bytes=float(peak))
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


def _spread(points: Sequence[tuple[int, int]], peak: int) -> float:
    return max(_deviation(peak, measured) for _, measured in points)


def _deviation(predicted: float, measured: int) -> float:
    return abs(predicted - measured) / max(measured, 1)
