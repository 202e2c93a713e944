"""Trials as charts over their size: peak memory, and throughput."""

import math
from collections.abc import Sequence
from dataclasses import replace

from autobatch._text import format_bytes
from autobatch.report.charts.axes import (
    FONT,
    Frame,
    Labels,
    Scale,
    byte_ticks,
    count_ticks,
    doubling_ticks,
    gutter,
    number_ticks,
    size_scale,
    text_width,
)
from autobatch.report.charts.contents import MemoryContent, ThroughputContent
from autobatch.report.charts.svg import Svg, band, box, element, join, line, mark, rule, text
from autobatch.results.text import outcome_words
from autobatch.results.trial import Outcome, Trial

SHAPES = {
    Outcome.RAN: "circle",
    Outcome.OVER_BUDGET: "up",
    Outcome.OUT_OF_MEMORY: "cross",
    Outcome.KILLED: "square",
    Outcome.CRASHED: "diamond",
    Outcome.TIMED_OUT: "down",
    Outcome.NO_ANSWER: "plus",
    Outcome.GARBLED: "star",
    Outcome.ERROR: "ring",
}
_LEAST_GUTTER = 46.0
_FAR = 3.0  # a budget beyond this multiple of all else is named, not drawn
_CURVE_POINTS = 48
_NO_PEAK = "no peak"
_STRIP = 24.0  # the height of the row for trials without one
_LEAST_SPEED = 0.001  # samples/s at the top of an axis whose labels would be all noughts


def memory_chart(shown: MemoryContent, *, wide: bool) -> Svg:
    """Peak memory of one resource against batch size, for a screen or a telephone; there is at least one trial."""
    return _MemoryChart(shown, wide).draw()


class _MemoryChart:
    def __init__(self, shown: MemoryContent, wide: bool) -> None:  # noqa: FBT001 - one of two forms
        self._shown, self._wide = shown, wide
        self._top = shown.highest_bytes * 1.12 or 1.0
        if shown.budget_is_near(_FAR) and shown.budget_bytes is not None:
            self._top = max(self._top, (shown.budget_bytes + shown.reserve_bytes) * 1.06)
        named = text_width(_NO_PEAK) + 12 if shown.silent else 0
        frame = _frame_of(wide, max(gutter(byte_ticks, 0, self._top), named))
        self._note_y = frame.top - 4
        self._frame = replace(frame, top=frame.top + _STRIP) if shown.silent else frame
        sizes = [trial.size for trial in (*(trial for trial, _ in shown.measured), *shown.silent)]
        self._x = size_scale(sizes, self._frame.left, self._frame.right)
        self._y = Scale(0, self._top, self._frame.bottom, self._frame.top)
        self._labels = Labels(self._frame)

    def draw(self) -> Svg:
        places = [(trial, self._x(trial.size), self._y(peak)) for trial, peak in self._shown.measured]
        for _, across, up in places:
            self._labels.keep_free(across, up)
        limits = self._limits()
        return self._frame.drawing(
            self._said(),
            limits[0],
            self._frame.y_axis(self._y, byte_ticks, f"{self._shown.resource} memory, peak above the baseline"),
            _size_axis(self._frame, self._x),
            self._fitted(),
            *limits[1:],
            self._worst(),
            self._strip(),
            *(self._mark(*place) for place in places),
            _chosen_label(self._labels, places, self._shown.chosen),
            self._chosen_line(places),
            *(_outcome_label(self._labels, *place) for place in places),
            wide=self._wide,
        )

    def _limits(self) -> tuple[Svg, ...]:
        frame, budget, reserve = self._frame, self._shown.budget_bytes, self._shown.reserve_bytes
        if budget is None:
            return (Svg(),)
        if not self._shown.budget_is_near(_FAR):
            said = f"↑ budget {format_bytes(budget)}" + ", above this chart" * self._wide
            # Above the plot there is always room for it: nothing else stands between the title and the first line.
            return Svg(), text(said, frame.right, self._note_y, "label", "end")
        at = self._y(budget)
        over = self._y(budget + reserve)
        hatched = _hatched(frame.left, over, frame.right, at) if reserve else Svg()
        lines = rule((frame.left, at), (frame.right, at), "limit")
        self._labels.keep_off_line(at)
        named = self._labels.along(f"budget {format_bytes(budget)}", at, below=True)
        above = f"reserve {format_bytes(reserve)}"
        return hatched, lines, named, self._labels.along(above, at) if reserve else Svg()

    def _fitted(self) -> Svg:
        """The fitted line in its margin, as far as the plot reaches."""
        model = self._shown.model
        if model is None:
            return Svg()
        sizes = _along(self._x)
        middle = [(self._x(size), model.predict(size)) for size in sizes]
        margins = [model.margin_bytes(size) for size in sizes]
        inside = [(x, peak, by) for (x, peak), by in zip(middle, margins, strict=True) if peak <= self._top]
        lower = [(x, self._y(max(0, peak - by))) for x, peak, by in inside]
        upper = [(x, self._y(min(self._top, peak + by))) for x, peak, by in inside]
        through = [(x, self._y(peak)) for x, peak, _ in inside]
        for across, up in through:
            self._labels.keep_free(across, up, 2)
        return join([band(lower, upper, "margin"), line(through, "fitted")])

    def _strip(self) -> Svg:
        """A row above the plot for the trials that measured no peak of this resource."""
        frame, middle = self._frame, self._frame.top - _STRIP / 2 - 2
        if not self._shown.silent:
            return Svg()
        labels = Labels(replace(frame, top=middle - _STRIP / 2, bottom=middle + _STRIP / 2))
        places = [(trial, self._x(trial.size), middle) for trial in self._shown.silent]
        pieces = [
            text(_NO_PEAK, frame.left - 7, middle + FONT * 0.35, "tick", "end"),
            rule((frame.left, middle), (frame.right, middle), "grid"),
        ]
        for trial, across, up in places:
            labels.keep_free(across, up)
            title = f"{trial.size} samples: {outcome_words(trial.outcome)}, no peak measured"
            pieces.append(_dot(trial, across, up, title, None))
        return join([*pieces, *(_outcome_label(labels, *place) for place in places)])

    def _worst(self) -> Svg:
        peaks = {id(trial): peak for trial, peak in self._shown.measured}
        pieces: list[Svg] = []
        for trial, worst in self._shown.worst:
            x, up = self._x(trial.size), self._y(worst)
            pieces.append(rule((x, self._y(peaks.get(id(trial), 0))), (x, up), "worst"))
            pieces.append(mark("dash", x, up, f"{trial.size}: at worst {format_bytes(worst)}", "worst"))
        return join(pieces)

    def _mark(self, trial: Trial, across: float, up: float) -> Svg:
        peak = format_bytes(trial.peaks[self._shown.resource])
        said = f"{trial.size} samples: {outcome_words(trial.outcome)}, peak {peak}"
        return _dot(trial, across, up, said, self._shown.chosen)

    def _chosen_line(self, places: Sequence[tuple[Trial, float, float]]) -> Svg:
        """The chosen size on the fitted line where its own trial measured no peak."""
        chosen, model = self._shown.chosen, self._shown.model
        proven = any(trial.size == chosen and trial.outcome is Outcome.RAN for trial, _, _ in places)
        if chosen is None or model is None or proven:
            return Svg()
        across, up = self._x(chosen), self._y(model.predict(chosen))
        self._labels.keep_free(across, up)
        said = f"{chosen} samples, chosen: about {format_bytes(model.predict(chosen))} by the fitted line"
        label = self._labels.beside(f"{chosen} chosen", across, up, "strong")
        return join([mark("ring", across, up, said, "chosen", 8), label])

    def _said(self) -> str:
        shown = self._shown
        budget = "" if shown.budget_bytes is None else f" The budget is {format_bytes(shown.budget_bytes)}."
        chosen = "" if shown.chosen is None else f" The chosen size is {shown.chosen}."
        return (
            f"{shown.resource} memory against batch size, {len(shown.measured)} measured peaks.{budget}{chosen} "
            "The table of trials has all of it."
        )


def _hatched(left: float, top: float, right: float, bottom: float) -> Svg:
    """A band of slanted lines, drawn one by one: a pattern would need a name that no other chart has."""
    gap, height = 9.0, bottom - top
    starts = [left + gap * number for number in range(-math.ceil(height / gap), math.ceil((right - left) / gap))]
    pieces = []
    for start in starts:
        low, high = max(start, left), min(start + height, right)
        if high > low:
            pieces.append(f"M{low:.1f} {bottom - (low - start):.1f}L{high:.1f} {bottom - (high - start):.1f}")
    return join([box(left, top, right, bottom, "reserve"), element("path", d="".join(pieces), class_="hatch")])


def _along(scale: Scale) -> list[int]:
    """Sizes along the axis, evenly on paper."""
    low, high = max(1.0, scale.low), scale.high
    shares = [number / (_CURVE_POINTS - 1) for number in range(_CURVE_POINTS)]
    sizes = [low * (high / low) ** share if scale.log else low + (high - low) * share for share in shares]
    return sorted({max(1, round(size)) for size in sizes})


def throughput_chart(shown: ThroughputContent, sizes: Sequence[int], *, wide: bool) -> Svg:
    """Samples per second against batch size; by the `sizes` of all trials this axis is that of the memory."""
    top, chosen = max(shown.best * 1.15, _LEAST_SPEED), shown.chosen
    frame = _frame_of(wide, gutter(number_ticks, 0, top))
    x, y = size_scale(list(sizes), frame.left, frame.right), Scale(0, top, frame.bottom, frame.top)
    labels = Labels(frame)
    places = [(trial, x(trial.size), y(speed)) for trial, speed in shown.measured]
    dots = []
    for trial, across, up in places:
        labels.keep_free(across, up)
        title = f"{trial.size} samples: {trial.samples_per_s:,.1f} samples/s, {outcome_words(trial.outcome)}"
        dots.append(_dot(trial, across, up, title, chosen))
    kept = y(shown.efficient)
    labels.keep_off_line(kept)
    said = (
        f"Throughput against batch size; the best is {shown.best:,.1f} samples per second. "
        "The table of trials has all of it."
    )
    return frame.drawing(
        said,
        frame.y_axis(y, number_ticks, "samples/s"),
        _size_axis(frame, x),
        line([(x(size), y(speed)) for size, speed in shown.fastest.items()], "thread"),
        rule((frame.left, kept), (frame.right, kept), "limit"),
        *dots,
        labels.along("95 % of the best", kept, below=True),
        _chosen_label(labels, places, chosen),
        *(_outcome_label(labels, *place) for place in places),
        wide=wide,
    )


def _frame_of(wide: bool, left: float) -> Frame:  # noqa: FBT001 - one of two forms
    width, height = (560.0, 330.0) if wide else (340.0, 300.0)
    return Frame(width, height, max(_LEAST_GUTTER, left), 34.0, width - 14.0, height - 46.0)


def _size_axis(frame: Frame, scale: Scale) -> Svg:
    title = "batch size, samples" + ", logarithmic" * scale.log
    return frame.x_axis(scale, doubling_ticks if scale.log else count_ticks, title)


def _dot(trial: Trial, across: float, up: float, title: str, chosen: int | None) -> Svg:
    """The mark of a trial, ringed where it proves the chosen size."""
    good = trial.outcome is Outcome.RAN
    shape = mark(SHAPES[trial.outcome], across, up, title, "ran" if good else "failed")
    around = [mark("ring", across, up, "", "chosen", 9)] if good and trial.size == chosen else []
    return join([*around, shape])


def _chosen_label(labels: Labels, places: Sequence[tuple[Trial, float, float]], chosen: int | None) -> Svg:
    """The label of the chosen size beside the last trial in which it ran."""
    proof = [(x, y) for trial, x, y in places if trial.size == chosen and trial.outcome is Outcome.RAN]
    return labels.beside(f"{chosen} chosen", *proof[-1], "strong") if proof else Svg()


def _outcome_label(labels: Labels, trial: Trial, across: float, up: float) -> Svg:
    """The outcome in words beside the mark of a trial that ended other than well, if there is room."""
    if trial.outcome is Outcome.RAN:
        return Svg()
    return labels.beside(f"{trial.size} {outcome_words(trial.outcome)}", across, up, "warning")
