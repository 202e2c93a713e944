"""Trials as charts over their size: peak memory, and throughput."""

import math
from collections.abc import Sequence
from dataclasses import replace

from autobatch._text import format_bytes
from autobatch.memory.peak_model import PeakModel
from autobatch.probing.search import EFFICIENT_FRACTION
from autobatch.report.charts.axes import FONT, Labels, gutter, text_width
from autobatch.report.charts.scale import Scale, byte_ticks, number_ticks, size_scale
from autobatch.report.charts.svg import Point, Svg, band, box, element, join, line, mark, rule, text
from autobatch.report.charts.trial_marks import (
    AT_WORST,
    Trials,
    chosen_label,
    dot,
    form,
    frame_of,
    is_speed,
    outcome_label,
    size_axis,
)
from autobatch.results.text import outcome_words
from autobatch.results.trial import Outcome, Trial

_FAR = 3.0  # a budget beyond this multiple of all else would press the rest against the axis

_CURVE_POINTS = 48

_NO_PEAK = "no peak"

_STRIP = 24.0  # the height of the row for trials without one


def memory_chart(trials: Trials, resource: str, *, wide: bool) -> Svg:
    """Peak memory of one resource against batch size: measured, fitted, and what it may come to.

    Args:
        trials: At least one of them, each with a size from 1 up.
        resource: `"host"` or `"device"`.
        wide: For a screen, or else for a telephone.
    """
    return _MemoryChart(trials, resource, wide).draw()


class _MemoryChart:
    """One chart of memory while it is put together."""

    def __init__(self, trials: Trials, resource: str, wide: bool) -> None:  # noqa: FBT001 - one of two forms
        self._trials, self._resource, self._wide = trials, resource, wide
        result = trials.result
        self._budget = result.budgets.get(resource) if result else None
        self._reserve = result.reserves.get(resource, 0) if result else 0
        self._model = trials.models.get(resource)
        self._sizes = [trial.size for trial in trials.all]
        self._top = self._highest() * 1.12 or 1.0
        self._near = self._budget is not None and self._budget <= self._top * _FAR / 1.12
        if self._near and self._budget is not None:
            self._top = max(self._top, (self._budget + self._reserve) * 1.06)
        self._silent = [trial for trial in trials.all if resource not in trial.peaks]
        named = text_width(_NO_PEAK) + 12 if self._silent else 0
        frame = frame_of(wide, max(gutter(byte_ticks, 0, self._top), named))
        self._note_y = frame.top - 4
        self._frame = replace(frame, top=frame.top + _STRIP) if self._silent else frame
        self._x = size_scale(self._sizes, self._frame.left, self._frame.right)
        self._y = Scale(0, self._top, self._frame.bottom, self._frame.top)
        self._labels = Labels(self._frame)

    def draw(self) -> Svg:
        """The chart."""
        places = [(trial, self._x(trial.size), self._y(trial.peaks[self._resource])) for trial in self._measured()]
        for _, across, up in places:
            self._labels.keep_free(across, up)
        limits = self._limits()
        return self._frame.drawing(
            self._said(),
            limits[0],
            self._frame.y_axis(self._y, byte_ticks, f"{self._resource} memory, peak above the baseline"),
            size_axis(self._frame, self._x),
            self._fitted(),
            *limits[1:],
            self._worst(),
            self._strip(),
            *(self._mark(*place) for place in places),
            chosen_label(self._labels, places, self._trials.chosen),
            self._chosen_line(places),
            *(outcome_label(self._labels, *place) for place in places),
            class_=form(self._wide),
        )

    def _measured(self) -> list[Trial]:
        return [trial for trial in self._trials.all if self._resource in trial.peaks]

    def _highest(self) -> float:
        """The most that is drawn besides the budget."""
        names = (self._resource, self._resource + AT_WORST)
        peaks = [trial.peaks[name] for trial in self._trials.all for name in names if name in trial.peaks]
        chosen = [self._upper(self._trials.chosen)] if self._trials.chosen else []
        return max([*peaks, *chosen], default=0)

    def _upper(self, size: int) -> float:
        return self._model.upper(size) if self._model and _is_usable(self._model) else 0

    def _limits(self) -> tuple[Svg, ...]:
        """The reserve, the budget, and what they are called."""
        frame, budget = self._frame, self._budget
        if budget is None:
            return (Svg(),)
        if not self._near:
            said = f"↑ budget {format_bytes(budget)}" + ", above this chart" * self._wide
            # Above the plot there is always room for it: nothing else stands between the title and the first line.
            return Svg(), text(said, frame.right, self._note_y, "label", "end")
        at = self._y(budget)
        over = self._y(budget + self._reserve)
        hatched = _hatched(frame.left, over, frame.right, at) if self._reserve else Svg()
        lines = rule((frame.left, at), (frame.right, at), "limit")
        self._labels.keep_off_line(at)
        named = self._labels.along(f"budget {format_bytes(budget)}", at, below=True)
        above = f"reserve {format_bytes(self._reserve)}"
        return hatched, lines, named, self._labels.along(above, at) if self._reserve else Svg()

    def _fitted(self) -> Svg:
        """The fitted line in its margin, as far as the plot reaches."""
        model = self._model
        if model is None or not _is_usable(model):
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
        if not self._silent:
            return Svg()
        labels = Labels(replace(frame, top=middle - _STRIP / 2, bottom=middle + _STRIP / 2))
        places = [(trial, self._x(trial.size), middle) for trial in self._silent]
        for _, across, up in places:
            labels.keep_free(across, up)
        return join(
            [
                text(_NO_PEAK, frame.left - 7, middle + FONT * 0.35, "tick", "end"),
                rule((frame.left, middle), (frame.right, middle), "grid"),
                *(
                    dot(t, x, y, f"{t.size} samples: {outcome_words(t.outcome)}, no peak measured", None)
                    for t, x, y in places
                ),
                *(outcome_label(labels, *place) for place in places),
            ]
        )

    def _worst(self) -> Svg:
        name = self._resource + AT_WORST
        trials = [trial for trial in self._trials.all if name in trial.peaks]
        return join(
            join(
                [
                    rule((self._x(t.size), self._y(t.peaks.get(self._resource, 0))), self._at(t, name), "worst"),
                    mark("dash", *self._at(t, name), f"{t.size}: at worst {format_bytes(t.peaks[name])}", "worst"),
                ]
            )
            for t in trials
        )

    def _at(self, trial: Trial, name: str) -> Point:
        return self._x(trial.size), self._y(trial.peaks[name])

    def _mark(self, trial: Trial, across: float, up: float) -> Svg:
        said = f"{trial.size} samples: {outcome_words(trial.outcome)}, peak {format_bytes(trial.peaks[self._resource])}"
        return dot(trial, across, up, said, self._trials.chosen)

    def _chosen_line(self, places: Sequence[tuple[Trial, float, float]]) -> Svg:
        """The chosen size on the fitted line where its own trial measured no peak."""
        chosen = self._trials.chosen
        if chosen is None or any(trial.size == chosen and trial.outcome is Outcome.RAN for trial, _, _ in places):
            return Svg()
        if self._model is None or not _is_usable(self._model):
            return Svg()
        across, up = self._x(chosen), self._y(self._model.predict(chosen))
        self._labels.keep_free(across, up)
        said = f"{chosen} samples, chosen: about {format_bytes(self._model.predict(chosen))} by the fitted line"
        return join(
            [mark("ring", across, up, said, "chosen", 8), self._labels.beside(f"{chosen} chosen", across, up, "strong")]
        )

    def _said(self) -> str:
        measured = len(self._measured())
        budget = "" if self._budget is None else f" The budget is {format_bytes(self._budget)}."
        chosen = "" if self._trials.chosen is None else f" The chosen size is {self._trials.chosen}."
        return (
            f"{self._resource} memory against batch size, {measured} measured peaks.{budget}{chosen} "
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


def _is_usable(model: PeakModel) -> bool:
    numbers = (model.fixed_bytes, model.per_sample_bytes, model.residual, model.least_bytes)
    return all(math.isfinite(number) for number in numbers) and model.largest_size >= 1


_LEAST_SPEED = 0.001  # samples/s at the top of an axis whose labels would be all noughts


def throughput_chart(trials: Trials, *, wide: bool) -> Svg:
    """Samples per second against batch size, with 95 % of the best and the chosen size.

    Args:
        trials: At least one of them with a speed.
        wide: For a screen, or else for a telephone.
    """
    measured = [(trial, trial.samples_per_s) for trial in trials.all if is_speed(trial.samples_per_s)]
    best = max(speed for trial, speed in measured if speed is not None)
    top = max(best * 1.15, _LEAST_SPEED)
    frame = frame_of(wide, gutter(number_ticks, 0, top))
    x = size_scale([trial.size for trial in trials.all], frame.left, frame.right)
    y = Scale(0, top, frame.bottom, frame.top)
    labels = Labels(frame)
    places = [(trial, x(trial.size), y(speed or 0)) for trial, speed in measured]
    for _, across, up in places:
        labels.keep_free(across, up)
    kept = y(EFFICIENT_FRACTION * best)
    labels.keep_off_line(kept)
    # A line through the best speed of each size, because a size may have been tried twice.
    fastest = {
        trial.size: (across, up) for trial, across, up in sorted(places, key=lambda place: (place[0].size, -place[2]))
    }
    said = (
        f"Throughput against batch size; the best is {best:,.1f} samples per second. The table of trials has all of it."
    )
    return frame.drawing(
        said,
        frame.y_axis(y, number_ticks, "samples/s"),
        size_axis(frame, x),
        line(list(fastest.values()), "thread"),
        rule((frame.left, kept), (frame.right, kept), "limit"),
        *(dot(trial, across, up, _speed_title(trial), trials.chosen) for trial, across, up in places),
        labels.along("95 % of the best", kept, below=True),
        chosen_label(labels, places, trials.chosen),
        *(outcome_label(labels, *place) for place in places),
        class_=form(wide),
    )


def _speed_title(trial: Trial) -> str:
    return f"{trial.size} samples: {trial.samples_per_s:,.1f} samples/s, {outcome_words(trial.outcome)}"
