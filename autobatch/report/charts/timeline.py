"""A training over time: micro-batch, headroom and memory in rows, with every decision where it was taken."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from autobatch._text import format_duration
from autobatch.report.charts.axes import Frame, decimate, gutter, text_width
from autobatch.report.charts.decision_marks import MARKS_BOTTOM, decision_marks, placed
from autobatch.report.charts.scale import Scale, TickMaker, byte_ticks, count_ticks, second_ticks
from autobatch.report.charts.svg import Point, Svg, box, join, line, mark, rule, steps, text
from autobatch.report.runs import Record, Seen

_ROW = 92.0

_GAP = 30.0

_LONG_BEFORE = 0.1  # of the whole time

_BREAK = 3.0  # a hole narrower than this is not seen

_LONE = 8.0  # half the length of a limit that was read once

Known = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity over time.

    Attributes:
        title: What it is.
        points: Seconds and value, in order; `None` where it is not known.
        ticks: How its axis is written.
        stepped: Whether a value holds until the next.
        limit: What it should stay below, over time.
    """

    title: str
    points: Sequence[Known]
    ticks: TickMaker
    stepped: bool = False
    limit: Sequence[Known] = ()


def timeline(record: Record, *, wide: bool) -> Svg | None:
    """The run drawn over time, or `None` where nothing of it has a time.

    Args:
        record: Of a training.
        wide: For a screen, or else for a telephone.
    """
    rows = [row for row in _rows(record) if any(value is not None for _, value in row.points)]
    start, until = _span(record)
    if not rows or until <= start:
        return None
    width, side = (820.0, 16.0) if wide else (340.0, 10.0)
    left = max(gutter(row.ticks, *_range(row), 4) for row in rows)
    top = MARKS_BOTTOM + 26
    height = top + len(rows) * _ROW + (len(rows) - 1) * _GAP + 64
    frame = Frame(width, height, max(left, 46.0), top, width - side, height - 64)
    x = Scale(start, until, frame.left, frame.right)
    marks = [] if not record.decisions else decision_marks(frame, x, placed(record))
    drawn_rows = ", ".join(row.title for row in rows)
    said = (
        f"The run over {format_duration(until)}: {drawn_rows}; {len(record.decisions)} changes of the micro-batch and "
        f"{len(record.epochs)} epochs. The table of decisions below has all changes."
    )
    drawn = [_draw(row, part, x) for row, part in zip(rows, frame.rows(*[1.0] * len(rows), gap=_GAP), strict=True)]
    return frame.drawing(said, *marks, _time_axis(frame, x, record), *drawn, class_="wide" if wide else "narrow")


def _span(record: Record) -> tuple[float, float]:
    """From when to when: trials before the training began are left out where they took long."""
    times = _times(record)
    first, last = min(times, default=0.0), max(times, default=0.0)
    return (first if first > _LONG_BEFORE * last else 0.0), last


def _times(record: Record) -> list[float]:
    times = [seen.at_s for seen in record.observations] + [epoch.at_s for epoch in record.epochs]
    times += [decision.at_s for decision in record.decisions if decision.at_s is not None]
    return [time for time in times if math.isfinite(time)]


def _rows(record: Record) -> list[Row]:
    seen = sorted((one for one in record.observations if math.isfinite(one.at_s)), key=lambda one: one.at_s)
    budgets = [(one.at_s, one.budget_bytes, one.limit) for one in seen]
    on_device = [(at_s, budget if _is_device(limit) else None) for at_s, budget, limit in budgets]
    on_host = [(at_s, None if _is_device(limit) else budget) for at_s, budget, limit in budgets]
    return [
        Row("micro-batch, samples", _micro(record, seen), count_ticks, stepped=True),
        Row("headroom", [(one.at_s, one.headroom_bytes) for one in seen], byte_ticks),
        Row("occupied on the host (RSS)", [(one.at_s, one.rss_bytes) for one in seen], byte_ticks, limit=on_host),
        Row("occupied on devices", [(one.at_s, one.device_bytes) for one in seen], byte_ticks, limit=on_device),
    ]


def _is_device(limit: str | None) -> bool:
    return limit is not None and limit.startswith(("GPU", "device"))


def _micro(record: Record, seen: Sequence[Seen]) -> list[Known]:
    """The size over time, by what was seen and by what was decided in between; the last one holds to the end."""
    told: list[Known] = [(one.at_s, one.micro) for one in seen]
    told += [(one.at_s, one.decision.after) for one in placed(record)]
    told.sort(key=lambda point: point[0])
    start, until = _span(record)
    if record.begun is not None:
        told.insert(0, (start, record.begun.micro))
    changes = [point for before, point in itertools.pairwise([(0.0, None), *told]) if point[1] != before[1]]
    return [*changes, *((until, size) for _, size in told[-1:])]


def _range(row: Row) -> tuple[float, float]:
    """From 0, or from the lowest below it, to a little above the highest; the limit counts where it is near."""
    values = [value for _, value in row.points if value is not None]
    near = 2 * max(values)
    limits = [value for _, value in row.limit if value is not None and value <= near]
    low, high = min(0.0, *values), max(0.0, *values, *limits)
    return (low, high + (high - low) * 0.08) if high > low else (0.0, 1.0)


def _draw(row: Row, frame: Frame, x: Scale) -> Svg:
    low, high = _range(row)
    y = Scale(low, high, frame.bottom, frame.top)
    zero = [rule((frame.left, y(0)), (frame.right, y(0)), "zero")] if low < 0 else []
    under = [box(frame.left, y(0), frame.right, y(low), "short")] if low < 0 else []
    limit = [(at_s, value if value is not None and value <= high else None) for at_s, value in row.limit]
    return join(
        [
            *under,
            frame.y_axis(y, row.ticks, row.title + _legend(limit), most=4, title_y=frame.top - 9),
            *zero,
            rule((frame.left, frame.bottom), (frame.right, frame.bottom), "axis"),
            *(_limit(piece) for piece in _pieces(limit, x, y)),
            *(_series(piece, stepped=row.stepped) for piece in _pieces(row.points, x, y)),
        ]
    )


def _legend(limit: Sequence[Known]) -> str:
    return ", budget dashed" if any(value is not None for _, value in limit) else ""


def _series(piece: Sequence[Point], *, stepped: bool) -> Svg:
    """A line through readings; one that stands alone is a mark, for a line of no length is not seen."""
    if len(set(piece)) == 1:
        return mark("circle", *piece[0], "", "reading", 3.5)
    kept = decimate(piece)
    return line(steps(kept) if stepped else kept, "series")


def _limit(piece: Sequence[Point]) -> Svg:
    (x, y), *others = piece
    return line(decimate(piece), "limit") if others else rule((x - _LONE, y), (x + _LONE, y), "limit")


def _pieces(points: Iterable[Known], x: Scale, y: Scale) -> list[list[Point]]:
    """The points on paper, parted where nothing is known for long enough to be seen."""
    pieces: list[list[Point]] = []
    hole = True
    for at_s, value in points:
        if value is None:
            hole = True
            continue
        place = (x(at_s), y(value))
        if not pieces or (hole and place[0] - pieces[-1][-1][0] > _BREAK):
            pieces.append([])
        pieces[-1].append(place)
        hole = False
    return pieces


def _time_title(x: Scale) -> str:
    return "time of the run, without its trials" if x.low > 0 else "time since the run began"


def _time_axis(frame: Frame, x: Scale, record: Record) -> Svg:
    axis = frame.x_axis(x, second_ticks, _time_title(x), most=10 if frame.width > 500 else 4)
    ends = {epoch.at_s: epoch.epoch + 1 for epoch in record.epochs if math.isfinite(epoch.at_s)}
    if not ends:
        return axis
    numbers = sorted(ends)
    ticks = [rule((x(at_s), frame.bottom), (x(at_s), frame.bottom - 7), "epoch") for at_s in numbers]
    lines = [rule((x(at_s), frame.top), (x(at_s), frame.bottom), "ended") for at_s in numbers]
    y = frame.bottom + 56
    named = text("epoch ended", 2, y, "tick") if frame.left >= text_width("epoch ended") + 4 else Svg()
    return join([axis, *lines[:200], *ticks[:400], named, *_epoch_labels(ends, x, y, frame)])


def _epoch_labels(ends: dict[float, int], x: Scale, y: float, frame: Frame) -> list[Svg]:
    """As many numbers of epochs as have room."""
    labels: list[Svg] = []
    free_from = frame.left - 20
    for at_s in sorted(ends):
        said = f"epoch {ends[at_s]}"
        right = min(x(at_s), frame.width - 2)
        if right - text_width(said) >= free_from:
            labels.append(text(said, right, y, "tick", "end"))
            free_from = right + 8
    return labels
