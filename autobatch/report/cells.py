"""Cells of tables as text: numbers, amounts, and the rows of trials that a terminal, a page and Markdown share."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autobatch.memory.units import format_bytes

if TYPE_CHECKING:
    from autobatch.probing.trial import Outcome, Trial

UNKNOWN = "-"


def outcome_words(outcome: "Outcome") -> str:
    """An outcome as it is written: "over budget"."""
    return outcome.name.lower().replace("_", " ")


def number(value: float | None, form: str) -> str:
    """A number in a form of `format`, where there is one."""
    return UNKNOWN if value is None or not math.isfinite(value) else format(value, form)


def amount(count: int | None) -> str:
    """An amount of memory, where it is known."""
    return UNKNOWN if count is None else format_bytes(count)


def trial_rows(trials: Sequence["Trial"]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The headings of a table of trials, and one row for each, in order.

    Peaks are above what the process held before its first step, and so are the budgets they are compared with. "host at
    worst" is what the peak on the host may come to after many more updates than a trial runs.
    """
    resources = sorted({name for trial in trials for name in trial.peaks})
    peaks = [name.replace("_", " ") if "_" in name else f"{name} peak" for name in resources]
    head = ("size", "outcome", *peaks, "s/update", "samples/s", "seconds")
    return head, [_trial_row(trial, resources) for trial in trials]


def _trial_row(trial: "Trial", resources: Sequence[str]) -> tuple[str, ...]:
    return (
        str(trial.size),
        outcome_words(trial.outcome),
        *(amount(trial.peaks.get(name)) for name in resources),
        number(trial.seconds_per_update, ".3f"),
        number(trial.samples_per_s, ",.1f"),
        number(trial.wall_s, ".1f"),
    )
