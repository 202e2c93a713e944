"""The frame of a chart: where it stands, its ticks and labels, and points thinned to its width."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from autobatch.report.charts.scale import Scale, TickMaker, fitting_ticks
from autobatch.report.charts.svg import Point, Svg, element, join, rule, text

FONT = 13.0  # units of the drawing, as the style sheet sets it

# Wider than most system fonts draw, so that labels placed by it do not touch in any of them.
_CHARACTER = 0.66 * FONT
_GAP = 6.0
_OFFSET = 10.0
_LIFT = 12.0

Box = tuple[float, float, float, float]


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

    def drawing(self, said: str, *parts: Svg, class_: str) -> Svg:
        """The whole chart, which says `said` to whom cannot see it."""
        size = f"0 0 {self.width:g} {self.height:g}"
        return element("svg", *parts, viewBox=size, class_=class_, role="img", aria_label=said)


_TITLE_LEFT = 2.0


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


def decimate(points: Sequence[Point], *, per_column: float = 1.0) -> list[Point]:
    """Thins a line to its ends and two points per column of the paper, the lowest and the highest."""
    if len(points) < 3:
        return list(points)
    kept = [points[0]]
    for _, column in itertools.groupby(points[1:-1], key=lambda point: math.floor(point[0] / per_column)):
        numbered = list(enumerate(column))
        ends = {choose(numbered, key=lambda one: one[1][1]) for choose in (min, max)}
        kept += [point for _, point in sorted(ends)]
    return [*kept, points[-1]]
