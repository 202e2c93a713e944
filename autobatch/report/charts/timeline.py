"""A training over time: micro-batch, headroom and memory in rows, with every decision where it was taken."""

from collections.abc import Iterable, Sequence

from autobatch._text import format_duration
from autobatch.report.charts.axes import (
    FONT,
    Frame,
    Scale,
    byte_ticks,
    count_ticks,
    decimate,
    gutter,
    second_ticks,
    text_width,
)
from autobatch.report.charts.contents import Known, Placed, Row, RunContent, run_content
from autobatch.report.charts.svg import Point, Svg, box, element, join, line, mark, rule, steps, text
from autobatch.report.runs import Record

_ROW = 92.0
_GAP = 30.0
_BREAK = 3.0  # a hole narrower than this is not seen
_LONE = 8.0  # half the length of a limit that was read once
_TICKS = {"samples": count_ticks, "bytes": byte_ticks}
_MARKS_BOTTOM = 31.0  # of the row of numbered marks
_MIDDLE = 22.0
_RADIUS = 9.0
_OVERHANG = 8.0  # a mark may stand that far beyond the plot
_TITLED = 10  # reasons in one title: more than that nobody reads


def timeline(record: Record, *, wide: bool) -> Svg | None:
    """A training drawn over time, for a screen or a telephone; `None` where nothing of it has a time."""
    first_size = None if record.begun is None else record.begun.micro_batch_size
    shown = run_content(record.observations, record.decisions, record.epochs, first_size)
    rows = shown.rows
    if not rows or shown.until_s <= shown.start_s:
        return None
    width, side = (820.0, 16.0) if wide else (340.0, 10.0)
    left = max(gutter(_TICKS[row.unit], *row.range, 4) for row in rows)
    top = _MARKS_BOTTOM + 26
    height = top + len(rows) * _ROW + (len(rows) - 1) * _GAP + 64
    frame = Frame(width, height, max(left, 46.0), top, width - side, height - 64)
    x = Scale(shown.start_s, shown.until_s, frame.left, frame.right)
    marks = [] if not record.decisions else _decision_marks(frame, x, shown.decisions)
    drawn_rows = ", ".join(row.title for row in rows)
    said = (
        f"The run over {format_duration(shown.until_s)}: {drawn_rows}; {len(record.decisions)} changes of the "
        f"micro-batch and {len(record.epochs)} epochs. The table of decisions below has all changes."
    )
    drawn = [_draw(row, part, x) for row, part in zip(rows, frame.rows(len(rows), gap=_GAP), strict=True)]
    return frame.drawing(said, *marks, _time_axis(frame, x, shown), *drawn, wide=wide)


def _draw(row: Row, frame: Frame, x: Scale) -> Svg:
    low, high = row.range
    y = Scale(low, high, frame.bottom, frame.top)
    zero = [rule((frame.left, y(0)), (frame.right, y(0)), "zero")] if low < 0 else []
    under = [box(frame.left, y(0), frame.right, y(low), "short")] if low < 0 else []
    limit = [(at_s, value if value is not None and value <= high else None) for at_s, value in row.limit]
    title = row.title + ", budget dashed" * any(value is not None for _, value in limit)
    return join(
        [
            *under,
            frame.y_axis(y, _TICKS[row.unit], title, most=4, title_y=frame.top - 9),
            *zero,
            rule((frame.left, frame.bottom), (frame.right, frame.bottom), "axis"),
            *(_limit(piece) for piece in _pieces(limit, x, y)),
            *(_series(piece, stepped=row.stepped) for piece in _pieces(row.points, x, y)),
        ]
    )


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


def _time_axis(frame: Frame, x: Scale, shown: RunContent) -> Svg:
    title = "time of the run, without its trials" if x.low > 0 else "time since the run began"
    axis = frame.x_axis(x, second_ticks, title, most=10 if frame.width > 500 else 4)
    ends = shown.epoch_ends
    if not ends:
        return axis
    ticks = [rule((x(at_s), frame.bottom), (x(at_s), frame.bottom - 7), "epoch") for at_s, _ in ends]
    lines = [rule((x(at_s), frame.top), (x(at_s), frame.bottom), "ended") for at_s, _ in ends]
    y = frame.bottom + 56
    named = text("epoch ended", 2, y, "tick") if frame.left >= text_width("epoch ended") + 4 else Svg()
    return join([axis, *lines[:200], *ticks[:400], named, *_epoch_labels(ends, x, y, frame)])


def _epoch_labels(ends: Sequence[tuple[float, int]], x: Scale, y: float, frame: Frame) -> list[Svg]:
    labels: list[Svg] = []
    free_from = frame.left - 20
    for at_s, number in ends:
        said = f"epoch {number}"
        right = min(x(at_s), frame.width - 2)
        if right - text_width(said) >= free_from:
            labels.append(text(said, right, y, "tick", "end"))
            free_from = right + 8
    return labels


def _decision_marks(frame: Frame, x: Scale, decisions: Sequence[Placed]) -> list[Svg]:
    """A numbered mark for each decision; those too near to each other share one."""
    ordered = sorted(decisions, key=lambda one: one.at_s)
    # One for each unit of the paper: more lines would be drawn over each other.
    apart = {round(x(one.at_s)): one.at_s for one in ordered}.values()
    rules = [rule((x(at), _MIDDLE), (x(at), frame.bottom), "decision") for at in apart]
    named = text("changes", 2, _MIDDLE + FONT * 0.35, "tick")
    return [named, *rules, *(_mark(group, x) for group in _groups(ordered, x))]


def _groups(decisions: Sequence[Placed], x: Scale) -> list[list[Placed]]:
    """The decisions in order of time, those of one mark together."""
    groups: list[list[Placed]] = []
    for one in decisions:
        groups.append([one])
        # A mark that has grown wider may now touch the one before it, too.
        while len(groups) > 1 and _extent(groups[-1], x)[0] < _extent(groups[-2], x)[1] + 2:
            last = groups.pop()
            groups[-1].extend(last)
    return groups


def _extent(group: Sequence[Placed], x: Scale) -> tuple[float, float]:
    middle = (x(group[0].at_s) + x(group[-1].at_s)) / 2
    half = max(_RADIUS, text_width(_numbers(group)) / 2 + 3)
    middle = min(middle, x.end + _OVERHANG - half)
    return middle - half, middle + half


def _numbers(group: Sequence[Placed]) -> str:
    first, last = min(one.number for one in group), max(one.number for one in group)
    return str(first) if first == last else f"{first}-{last}"


def _mark(group: Sequence[Placed], x: Scale) -> Svg:
    left, right = _extent(group, x)
    said = [f"{one.number}. {one.decision}" for one in group[:_TITLED]]
    if len(group) > _TITLED:
        said.append(f"and {len(group) - _TITLED} more, in the table")
    top, height = _MIDDLE - _RADIUS, 2 * _RADIUS
    shape = element("rect", x=left, y=top, width=right - left, height=height, rx=_RADIUS, class_="badge")
    number = text(_numbers(group), (left + right) / 2, _MIDDLE + FONT * 0.35, "badge-text", "middle")
    return element("g", element("title", "\n".join(said)), shape, number)
