"""Axes: scales with their ticks, the frame of a chart and the labels in it, and points thinned to its width."""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from autobatch._text import GIB, KIB, MIB
from autobatch.report.charts.svg import Point, Svg, element, join, rule, text

Tick = tuple[float, str]
TickMaker = Callable[[float, float, int], list[Tick]]  # from low, high, and how many there may be
Room = Callable[[float, str], tuple[float, float]]
Box = tuple[float, float, float, float]

_UNITS = ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB"), (1, "bytes"))
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_WHOLE_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, _DAY)
_WORTH_A_LOGARITHM = 20.0
_MARGIN = 1.25  # beyond the outermost sizes, so that no mark stands on an edge
FONT = 13.0  # units of the drawing, as the style sheet sets it
# Wider than most system fonts draw, so that labels placed by it do not touch in any of them.
_CHARACTER = 0.66 * FONT
_GAP, _OFFSET, _LIFT, _TITLE_LEFT = 6.0, 10.0, 12.0, 2.0


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


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing of some width and height, and where the plot in it begins and ends, in units of the drawing."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float

    def rows(self, count: int, gap: float) -> list["Frame"]:
        """The plot cut into rows of the same height, `gap` units apart."""
        height = (self.bottom - self.top - gap * (count - 1)) / count
        tops = (self.top + number * (height + gap) for number in range(count))
        return [replace(self, top=top, bottom=top + height) for top in tops]

    def x_axis(self, scale: Scale, make: TickMaker, title: str, most: int = 10) -> Svg:
        ticks = fitting_ticks(make, scale, most, self._below)
        marks = [rule((scale(value), self.bottom), (scale(value), self.bottom + 4), "axis") for value, _ in ticks]
        middles = [sum(self._below(scale(value), label)) / 2 for value, label in ticks]
        labels = [text(tick[1], x, self.bottom + 18, "tick", "middle") for x, tick in zip(middles, ticks, strict=True)]
        middle = sum(self._below((self.left + self.right) / 2, title)) / 2
        named = text(title, middle, self.bottom + 37, "title", "middle")
        return join([rule((self.left, self.bottom), (self.right, self.bottom), "axis"), *marks, *labels, named])

    def y_axis(self, scale: Scale, make: TickMaker, title: str, most: int = 6, title_y: float = 14.0) -> Svg:
        """Faint lines across the plot, their labels to the left, and what they measure, above, at `title_y`."""
        ticks = fitting_ticks(make, scale, most, _left_of)
        lines = [rule((self.left, scale(value)), (self.right, scale(value)), "grid") for value, _ in ticks]
        labels = [text(label, self.left - 7, scale(value) + FONT * 0.35, "tick", "end") for value, label in ticks]
        return join([*lines, *labels, text(title, _TITLE_LEFT, title_y, "title")])

    def _below(self, x: float, label: str) -> tuple[float, float]:
        """What a label below the plot takes: it is moved in where it would leave the paper."""
        half = (text_width(label) + _GAP) / 2
        middle = min(x, self.width - half)
        return middle - half, middle + half

    def drawing(self, said: str, *parts: Svg, wide: bool) -> Svg:
        """The whole chart, which says `said` to whom cannot see it; the style sheet shows one form of two."""
        size, form = f"0 0 {self.width:g} {self.height:g}", "wide" if wide else "narrow"
        return element("svg", *parts, viewBox=size, class_=form, role="img", aria_label=said)


def _left_of(y: float, _: str) -> tuple[float, float]:
    half = (FONT + _GAP) / 2
    return y - half, y + half


def text_width(said: str) -> float:
    """About how wide a label is, rather more than less."""
    return len(said) * _CHARACTER


def gutter(make: TickMaker, low: float, high: float, most: int = 6) -> float:
    """The room that the labels of a vertical axis need, however many of them there will be."""
    labels = [label for count in range(1, most + 1) for _, label in make(low, high, count)]
    return max(map(text_width, labels), default=0.0) + 12


@dataclass(slots=True)
class Labels:
    """Labels inside of a plot: one that would touch another, or leave it, is tried elsewhere and then left out."""

    frame: Frame
    taken: list[Box] = field(default_factory=list)

    def keep_free(self, x: float, y: float, radius: float = 7.0) -> None:
        """Keeps labels off a mark."""
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def keep_off_line(self, y: float) -> None:
        """Keeps labels from being crossed by a horizontal line."""
        self.taken.append((self.frame.left, y - 0.5, self.frame.right, y + 0.5))

    def beside(self, said: str, x: float, y: float, class_: str = "label") -> Svg:
        """The label of a mark: to the right of it, to the left, above or below, wherever there is room."""
        wide, drop = text_width(said), FONT * 0.35
        places = (
            (x + _OFFSET, y + drop, "start"),
            (x - _OFFSET, y + drop, "end"),
            (x - wide / 2, y - _LIFT, "start"),
            (x - wide / 2, y + _LIFT + FONT * 0.7, "start"),
            (x - wide + _OFFSET, y - _LIFT, "start"),
            (x - wide + _OFFSET, y + _LIFT + FONT * 0.7, "start"),
            (x - _OFFSET, y - _LIFT, "start"),
            (x - _OFFSET, y + _LIFT + FONT * 0.7, "start"),
            (x - _OFFSET, y - FONT * 0.6, "end"),
            (x + _OFFSET, y + FONT * 1.3, "start"),
            (x - 2 * _OFFSET, y - 2 * FONT, "end"),
            (x + 2 * _OFFSET, y + 2 * FONT, "start"),
        )
        return self._put(said, places, class_)

    def along(self, said: str, y: float, class_: str = "label", *, below: bool = False) -> Svg:
        """The label of a horizontal line: on it at the left or the right end, or below it."""
        over, under = y - 5, y + FONT + 1
        heights = (under, over) if below else (over, under)
        ends = ((self.frame.left + _GAP, "start"), (self.frame.right - _GAP, "end"))
        places = [(x, height, anchor) for height in heights for x, anchor in ends]
        return self._put(said, places, class_)

    def _put(self, said: str, places: Iterable[tuple[float, float, str]], class_: str) -> Svg:
        for x, y, anchor in places:
            left = x - text_width(said) if anchor == "end" else x
            extent = left, y - FONT, left + text_width(said), y + FONT * 0.3
            if self._is_free(*extent):
                self.taken.append(extent)
                return text(said, x, y, class_, anchor)
        return Svg()

    def _is_free(self, left: float, top: float, right: float, bottom: float) -> bool:
        frame = self.frame
        if left < frame.left or right > frame.right or top < frame.top or bottom > frame.bottom:
            return False
        return all(right <= a or left >= c or bottom <= b or top >= d for a, b, c, d in self.taken)


def decimate(points: Sequence[Point]) -> list[Point]:
    """Thins a line to its ends and two points per column of the paper, the lowest and the highest."""
    if len(points) < 3:
        return list(points)
    kept = [points[0]]
    for _, column in itertools.groupby(points[1:-1], key=lambda point: math.floor(point[0])):
        numbered = list(enumerate(column))
        ends = {choose(numbered, key=lambda one: one[1][1]) for choose in (min, max)}
        kept += [point for _, point in sorted(ends)]
    return [*kept, points[-1]]
