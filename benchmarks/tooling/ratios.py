"""Sides that take turns, and the ratio of two of them with its spread."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio that was measured several times: the median, and its quartiles, or its range where there are few."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = _digits(self.middle)
        return f"{self.middle:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def _digits(middle: float) -> int:
    """Decimals that tell something: two of a ratio near one, fewer of a large one, more of a small one."""
    if middle >= 10 or not 0 < middle < math.inf:
        return 1 if 10 <= middle < 100 else 0 if middle >= 100 else 2
    return max(2, 1 - math.floor(math.log10(middle)))


def ratio(samples: Sequence[float], over: Sequence[float]) -> Ratio:
    """`samples` over `over`, turn by turn.

    Args:
        samples: What one side measured, a value a turn.
        over: What the other measured in the same turns, none of it 0.

    Raises:
        ValueError: There is no turn, or one side has more of them, or a divisor is 0.

    Example:
        >>> print(ratio([2.0, 6.0, 4.4], [2.0, 4.0, 4.0]))
        1.10 (1.00 to 1.50)
    """
    if len(samples) != len(over) or not samples or not all(over):
        msg = (
            "A ratio is taken turn by turn, over values that are not 0. "
            f"Received: samples={list(samples)}, over={list(over)}. Expected as many of the one as of the other."
        )
        raise ValueError(msg)
    values = sorted(one / other for one, other in zip(samples, over, strict=True))
    if len(values) < 4:
        return Ratio(statistics.median(values), values[0], values[-1])
    low, middle, high = statistics.quantiles(values, n=4)
    return Ratio(middle, low, high)


def interleaved(sides: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each side measures in each turn; who goes first changes from turn to turn.

    Args:
        sides: From a name to what is measured; a warm-up is the caller's business.
        turns: How often each is measured.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            samples[name].append(sides[name]())
    return samples
