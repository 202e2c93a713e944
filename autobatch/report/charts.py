"""Throughput against batch size, drawn."""

from autobatch.probing.search import EFFICIENT_FRACTION
from autobatch.report.frame import Labels, gutter
from autobatch.report.scale import Scale, number_ticks, size_scale
from autobatch.report.svg import Svg, line, rule
from autobatch.report.trial_marks import Trials, chosen_label, dot, form, frame_of, is_speed, outcome_label, size_axis
from autobatch.results.text import outcome_words
from autobatch.results.trial import Trial

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
