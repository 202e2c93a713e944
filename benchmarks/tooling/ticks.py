"""Round numbers beside a logarithmic axis."""

import math

from autobatch.report.scale import Tick

_PLAIN = range(-4, 7)  # powers of ten that are written out
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def log_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Powers of ten from `low` to `high`, with 2 and 5 between them where there is room, at most `most`, at least one.

    Example:
        >>> log_ticks(800, 1_200_000, 4)
        [(1000.0, '1,000'), (10000.0, '10,000'), (100000.0, '100,000'), (1000000.0, '1,000,000')]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, stride in (((1, 2, 5), 1), ((1, 3), 1), *(((1,), stride) for stride in range(1, last - first + 2))):
        pairs = [(factor, power) for power in range(first, last + 1, stride) for factor in factors]
        ticks = [(factor * 10.0**power, _label(factor, power)) for factor, power in pairs]
        inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick[0] <= high * (1 + 1e-9)]
        if 0 < len(inside) <= most:
            return inside
    # Between two powers of ten, or where but one label has room.
    middle = math.sqrt(low * high)
    return [(middle, f"{middle:.3g}")]


def _label(factor: int, power: int) -> str:
    if power in _PLAIN:
        return f"{factor * 10**power:,}" if power >= 0 else f"{factor * 10.0**power:.{-power}f}"
    raised = f"10{str(power).translate(_RAISED)}"
    return raised if factor == 1 else f"{factor}·{raised}"
