"""What the charts of trials have in common: their frame, their marks and what is written beside them."""

from collections.abc import Sequence

from autobatch.report.charts.axes import Frame, Labels
from autobatch.report.charts.scale import Scale, count_ticks, doubling_ticks
from autobatch.report.charts.svg import Svg, join, mark
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


def frame_of(wide: bool, left: float) -> Frame:  # noqa: FBT001 - one of two forms
    """The frame of a chart of trials whose vertical labels take `left` units."""
    width, height = (560.0, 330.0) if wide else (340.0, 300.0)
    return Frame(width, height, max(_LEAST_GUTTER, left), 34.0, width - 14.0, height - 46.0)


def form(wide: bool) -> str:  # noqa: FBT001 - one of two forms
    """The class by which the style sheet shows one form or the other."""
    return "wide" if wide else "narrow"


def size_axis(frame: Frame, scale: Scale) -> Svg:
    """The axis of batch sizes."""
    title = "batch size, samples" + ", logarithmic" * scale.log
    return frame.x_axis(scale, doubling_ticks if scale.log else count_ticks, title)


def dot(trial: Trial, across: float, up: float, title: str, chosen: int | None) -> Svg:
    """The mark of a trial, ringed where it proves the chosen size."""
    good = trial.outcome is Outcome.RAN
    dot = mark(SHAPES[trial.outcome], across, up, title, "ran" if good else "failed")
    around = [mark("ring", across, up, "", "chosen", 9)] if good and trial.size == chosen else []
    return join([*around, dot])


def chosen_label(labels: Labels, places: Sequence[tuple[Trial, float, float]], chosen: int | None) -> Svg:
    """The label of the chosen size beside the last trial in which it ran."""
    proof = [(x, y) for trial, x, y in places if trial.size == chosen and trial.outcome is Outcome.RAN]
    return labels.beside(f"{chosen} chosen", *proof[-1], "strong") if proof else Svg()


def outcome_label(labels: Labels, trial: Trial, across: float, up: float) -> Svg:
    """The outcome in words beside the mark of a trial that ended other than well, if there is room."""
    if trial.outcome is Outcome.RAN:
        return Svg()
    return labels.beside(f"{trial.size} {outcome_words(trial.outcome)}", across, up, "warning")
