"""Scales and their ticks: from a quantity to a place on paper, and the round numbers that are written beside it."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from autobatch._text import GIB, KIB, MIB

Tick = tuple[float, str]
TickMaker = Callable[[float, float, int], list[Tick]]  # from low, high, and how many there may be
Room = Callable[[float, str], tuple[float, float]]

_UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "bytes"))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WHOLE_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, _DAY)
_WORTH_A_LOGARITHM = 20.0
_MARGIN = 1.25  # beyond the outermost sizes, so that no mark stands on an edge


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a quantity stands on paper: from `low` at `start` to `high` at `end`, in units of the drawing.

    Example:
        >>> Scale(0, 10, 100, 300)(5)
        200.0
    """

    low: float
    high: float
    start: float
    end: float  # below `start` where the axis points up
    log: bool = False  # equal ratios take equal room; then `low` is above 0

    def __call__(self, value: float) -> float:
        """Returns the place of `value`; what lies outside of the scale is placed outside."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(max(value, self.low * 1e-9))
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


def size_scale(sizes: list[int], start: float, end: float) -> Scale:
    """The scale for batch sizes: logarithmic where they span more than a decade or so, else linear from 0."""
    low, high = min(sizes), max(sizes)
    if high > _WORTH_A_LOGARITHM * low:
        return Scale(low / _MARGIN, high * _MARGIN, start, end, log=True)
    return Scale(0, high * 1.08, start, end)


def number_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Round numbers from `low` to `high`: 0, 500, 1,000. At most `most + 1` of them, at least one where low is 0."""
    step = _decimal_step((high - low) / most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [(value, f"{value:,.{digits}f}") for value in _multiples(step, low, high)]


def count_ticks(low: float, high: float, most: int) -> list[Tick]:
    step = max(1.0, _decimal_step((high - low) / most))
    return [(value, f"{value:,.0f}") for value in _multiples(step, low, high)]


def byte_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Round amounts of memory, all in the unit that suits the largest: 0, 0.5 GiB, 1.0 GiB."""
    reach = max(abs(low), abs(high))
    unit, word = next((pair for pair in _UNITS if reach >= pair[0]), _UNITS[-1])
    step = _decimal_step((high - low) / unit / most)
    if unit == 1:
        step = max(1.0, step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    values = _multiples(step, low / unit, high / unit)
    return [(value * unit, f"{value:,.{digits}f} {word}" if value else "0") for value in values]


def second_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Round times: 0, 30 s, 60 s, or 0, 5 min, 10 min."""
    step = _second_step((high - low) / most)
    unit, word = next((pair for pair in ((_HOUR, "h"), (_MINUTE, "min"), (1, "s")) if step >= pair[0]), (1, "s"))
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step < 1 else 0
    if step % unit:
        unit, word = 1, "s"
    return [(value, f"{value / unit:,.{digits}f} {word}" if value else "0") for value in _multiples(step, low, high)]


def doubling_ticks(low: float, high: float, most: int) -> list[Tick]:
    """Powers of two from `low` to `high`, for a logarithmic scale of batch sizes: 2, 8, 32."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    stride = max(1, math.ceil((last - first + 1) / most))
    return [(2.0**power, f"{2**power:,}") for power in range(first, last + 1, stride)]


def fitting_ticks(make: TickMaker, scale: Scale, most: int, room: Room) -> list[Tick]:
    """As many ticks as stand beside each other without touching; `room` is where a label begins and ends."""
    for count in range(most, 1, -1):
        ticks = make(scale.low, scale.high, count)
        taken = sorted(room(scale(value), label) for value, label in ticks)
        if all(end <= start for (_, end), (start, _) in itertools.pairwise(taken)):
            return ticks
    return make(scale.low, scale.high, 1)[:1]


def _decimal_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … and their decimal fractions that is not below `least`."""
    if least <= 0 or not math.isfinite(least):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= least * (1 - 1e-9))


def _second_step(least: float) -> float:
    if least <= 1:
        return _decimal_step(least)
    return next((step for step in _WHOLE_STEPS if step >= least), _DAY * _decimal_step(least / _DAY))


def _multiples(step: float, low: float, high: float) -> list[float]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]
