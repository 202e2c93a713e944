"""The decisions of a training as numbered marks above its timeline."""

from collections.abc import Sequence

from autobatch.report.charts.axes import FONT, Frame, text_width
from autobatch.report.charts.contents import Placed
from autobatch.report.charts.scale import Scale
from autobatch.report.charts.svg import Svg, element, rule, text

MARKS_BOTTOM = 31.0  # of the row of numbered marks
_MIDDLE = 22.0
_RADIUS = 9.0
_OVERHANG = 8.0  # a mark may stand that far beyond the plot
_TITLED = 10  # reasons in one title: more than that nobody reads


def decision_marks(frame: Frame, x: Scale, decisions: Sequence[Placed]) -> list[Svg]:
    """A numbered mark for each decision; those too near to each other share one."""
    ordered = sorted(decisions, key=lambda one: one.at_s)
    rules = [rule((x(at), _MIDDLE), (x(at), frame.bottom), "decision") for at in _apart(ordered, x)]
    return [
        text("changes", 2, _MIDDLE + FONT * 0.35, "tick"),
        *rules,
        *(_mark(group, x) for group in _groups(ordered, x)),
    ]


def _apart(decisions: Sequence[Placed], x: Scale) -> list[float]:
    """One time for each unit of the paper: more lines would be drawn over each other."""
    return list({round(x(one.at_s)): one.at_s for one in decisions}.values())


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
    shape = element(
        "rect",
        x=left,
        y=_MIDDLE - _RADIUS,
        width=right - left,
        height=2 * _RADIUS,
        rx=_RADIUS,
        class_="badge",
    )
    number = text(_numbers(group), (left + right) / 2, _MIDDLE + FONT * 0.35, "badge-text", "middle")
    return element("g", element("title", "\n".join(said)), shape, number)
