"""Lines over a common axis, drawn: each is told from the others by its marks and dashes, not by its colour alone."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tooling.findings import Chart

from autobatch.report.charts.axes import (
    Frame,
    Scale,
    Tick,
    TickMaker,
    decimate,
    doubling_ticks,
    gutter,
    number_ticks,
    text_width,
)
from autobatch.report.charts.svg import Point, Svg, element, mark, path, rule, text

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


COLOURS = 8
_DASHES = (None, "7 4", "2 4", "10 3 2 3")
_MARKS = ("circle", "square", "diamond", "up", "down", "ring", "cross", "plus")
_MOST_MARKS = 40  # of a line; with more of them there would be nothing else to see
_LEAST_GUTTER = 40.0
_MARGIN = 1.25
_LINE = 17.0


@dataclass(frozen=True, slots=True)
class Key:
    """A line of the legend."""

    sample: Svg
    name: str


def drawable(chart: Chart) -> dict[str, list[Point]]:
    """The points that have a place on the paper, from left to right, by the names of their lines."""
    return {name: sorted(filter(_fits(chart), points)) for name, points in chart.series.items()}


def remark(chart: Chart) -> str:
    shown = drawable(chart)
    lost = sum(map(len, chart.series.values())) - sum(map(len, shown.values()))
    silent = [name for name, points in shown.items() if not points]
    said = [f"{lost} points have no place here: what is not above 0 has none on a logarithmic axis."] if lost else []
    return " ".join([*said, *([f"Without a point: {', '.join(silent)}."] if silent else [])])


def keys(chart: Chart) -> list[Key]:
    return [
        Key(element("svg", _swatch(number), viewBox="0 0 34 16", class_="key long", aria_hidden="true"), name)
        for number, (name, points) in enumerate(drawable(chart).items())
        if points
    ]


def draw(chart: Chart, *, wide: bool) -> Svg:
    series = drawable(chart)
    across, up = ([point[axis] for points in series.values() for point in points] for axis in (0, 1))
    width, height = (560.0, 340.0) if wide else (340.0, 310.0)
    above, below = (_wrapped(_axis_title(*one), width) for one in ((chart.y, chart.log_y), (chart.x, chart.log_x)))
    (low, high), make_y = _span(up, log=chart.log_y), _ticks(up, log=chart.log_y)
    left = max(_LEAST_GUTTER, gutter(make_y, low, high))
    frame = Frame(width, height, left, 17 + _LINE * len(above), width - 14.0, height - 29 - _LINE * len(below))
    x = Scale(*_span(across, log=chart.log_x, from_zero=False), frame.left, frame.right, log=chart.log_x)
    y = Scale(low, high, frame.bottom, frame.top, log=chart.log_y)
    return frame.drawing(
        f"{chart.title}: {chart.y} over {chart.x}; lines: {', '.join(series)}.",
        frame.y_axis(y, make_y, above[0]),
        frame.x_axis(x, _ticks(across, log=chart.log_x), below[0]),
        _zero(frame, y),
        # The axes write their first lines themselves.
        *(text(line, 2, 14 + _LINE * number, "title") for number, line in enumerate(above[1:], 1)),
        *(_under(frame, line, number) for number, line in enumerate(below[1:], 1)),
        *(_curve(number, name, points, x, y) for number, (name, points) in enumerate(series.items()) if points),
        wide=wide,
    )


def _fits(chart: Chart) -> Callable[[Point], bool]:
    def fits(point: Point) -> bool:
        logs = zip(point, (chart.log_x, chart.log_y), strict=True)
        return all(math.isfinite(value) and (value > 0 or not log) for value, log in logs)

    return fits


def _span(values: Sequence[float], *, log: bool, from_zero: bool = True) -> tuple[float, float]:
    """What an axis shows: a little more than the values, and 0 where that is not far off."""
    low, high = min(values), max(values)
    if log:
        return low / _MARGIN, high * _MARGIN
    if from_zero or 0 <= low < high / 3:
        low, high = min(0.0, low), max(0.0, high)
    room = (high - low) * 0.05 or abs(high) * 0.5 or 1.0
    return (low if low == 0 else low - room), (high if high == 0 < -low else high + room)


def _ticks(values: Sequence[float], *, log: bool) -> TickMaker:
    """Ticks for these values: batch sizes are powers of two, and so are their ticks."""
    if not log:
        return number_ticks
    return doubling_ticks if all(_is_doubling(value) for value in values) else log_ticks


def _is_doubling(value: float) -> bool:
    return value >= 1 and math.log2(value).is_integer()


def _axis_title(name: str, log: bool) -> str:  # noqa: FBT001 - handed over as a pair
    return f"{name}, logarithmic" if log else name


def _wrapped(said: str, width: float) -> list[str]:
    words = said.split() or ["-"]
    lines = words[:1]
    for word in words[1:]:
        if text_width(f"{lines[-1]} {word}") <= width - 8:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _under(frame: Frame, line: str, number: int) -> Svg:
    half = text_width(line) / 2
    middle = max(half, min((frame.left + frame.right) / 2, frame.width - half))
    return text(line, middle, frame.bottom + 37 + _LINE * number, "title", "middle")


def _zero(frame: Frame, y: Scale) -> Svg:
    crossed = not y.log and y.low < 0 < y.high
    return rule((frame.left, y(0)), (frame.right, y(0)), "zero") if crossed else Svg()


def _curve(number: int, name: str, points: Sequence[Point], x: Scale, y: Scale) -> Svg:
    places = [(x(across), y(up)) for across, up in points]
    shown = zip(points, places, strict=True) if len(points) <= _MOST_MARKS else ()
    marks = [_mark(number, *place, f"{name}: {_said(*point)}") for point, place in shown]
    return element("g", _line(number, decimate(places)), *marks, class_=_colour(number))


def _said(across: float, up: float) -> str:
    return f"{across:,.6g}, {up:,.4g}"


def _line(number: int, places: Sequence[Point]) -> Svg:
    dashes = _DASHES[number % len(_DASHES)]
    return element("path", d=path(places), class_="curve", stroke_dasharray=dashes) if len(places) > 1 else Svg()


def _mark(number: int, across: float, up: float, title: str = "") -> Svg:
    return mark(_MARKS[number % len(_MARKS)], across, up, title, "point", 4.0)


def _colour(number: int) -> str:
    return f"c{number % COLOURS + 1}"


def _swatch(number: int) -> Svg:
    return element("g", _line(number, [(0, 8), (34, 8)]), _mark(number, 17, 8), class_=_colour(number))
