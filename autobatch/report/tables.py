"""The tables of a page: rows of text, made from trials, decisions and facts about the machine."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autobatch.memory.units import format_bytes
from autobatch.probing.trial import Outcome, Trial
from autobatch.report.durations import duration_words
from autobatch.report.trial_marks import words
from autobatch.train.report import Decision

MOST_ROWS = 200
_UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their headings.

    Attributes:
        head: What each column is.
        rows: Cells in order; the first one names the row.
        texts: Which columns hold text, not numbers: they stand to the left.
        marked: The number of a row that stands out, counted from 0.
        left_out: How many rows in the middle are not here.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: frozenset[int]
    marked: int | None = None
    left_out: int = 0


def trials_table(trials: Sequence[Trial], chosen: Trial | None) -> Table:
    """One row for each trial, in order."""
    resources = sorted({name for trial in trials for name in trial.peaks})
    peaks = [name if " " in name else f"{name} peak" for name in resources]
    said = any(trial.detail for trial in trials)
    head = ("size", "outcome", *peaks, "s/update", "samples/s", "seconds", *(["what it said last"] if said else []))
    rows = tuple(_trial_row(trial, resources, said=said) for trial in trials)
    marked = next((number for number, trial in enumerate(trials) if trial is chosen), None)
    return Table(head, rows, frozenset({1, len(head) - 1} if said else {1}), marked)


def meanings(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """Each way in which trials ended other than well, what it means and what to do next."""
    outcomes = dict.fromkeys(trial.outcome for trial in trials if trial.outcome is not Outcome.RAN)
    return [(words(outcome), outcome.value) for outcome in outcomes]


def decisions_table(decisions: Sequence[Decision]) -> Table:
    """One numbered row for each change of the micro-batch; the numbers are those on the chart."""
    given_back = any(one.returned_bytes or one.held_bytes for one in decisions)
    back = ("went back", "stays held") if given_back else ()
    head = ("no.", "after", "where", "micro-batch", "headroom", *back, "why")
    rows = [_decision_row(number, one, given_back=given_back) for number, one in enumerate(decisions, 1)]
    left_out = max(0, len(rows) - MOST_ROWS)
    kept = [*rows[: MOST_ROWS // 2], *rows[len(rows) - MOST_ROWS // 2 :]] if left_out else rows
    return Table(head, tuple(kept), frozenset({2, len(head) - 1}), left_out=left_out)


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts about the machine as names and texts, with what is nested written out."""
    return [(name.replace("_", " "), said) for name, said in _flat("", environment)]


def _trial_row(trial: Trial, resources: Sequence[str], *, said: bool) -> tuple[str, ...]:
    peaks = [format_bytes(trial.peaks[name]) if name in trial.peaks else _UNKNOWN for name in resources]
    return (
        str(trial.size),
        words(trial.outcome),
        *peaks,
        _number(trial.seconds_per_update, ".3f"),
        _number(trial.samples_per_s, ",.1f"),
        _number(trial.wall_s, ".1f"),
        *([trial.detail or ""] if said else []),
    )


def _decision_row(number: int, one: Decision, *, given_back: bool) -> tuple[str, ...]:
    back = [_bytes(one.returned_bytes), _bytes(one.held_bytes)] if given_back else []
    return (
        str(number),
        _UNKNOWN if one.at_s is None else duration_words(one.at_s),
        f"epoch {one.epoch + 1}, update {one.update + 1}, {one.phase}",
        f"{one.before} → {one.after}",
        _bytes(one.headroom_bytes),
        *back,
        one.reason,
    )


def _bytes(count: int | None) -> str:
    return _UNKNOWN if count is None else format_bytes(count)


def _number(value: float | None, form: str) -> str:
    return format(value, form) if value is not None and math.isfinite(value) else _UNKNOWN


def _flat(name: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(f"{name} {key}".strip(), one)
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        for number, one in enumerate(value, 1):
            yield from _flat(f"{name} {number}" if len(value) > 1 else name, one)
    else:
        yield _said(name, value)


def _said(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int | float):
        return name.removesuffix("_bytes"), _number(value, ",.0f") + f" bytes ({format_bytes(value)})" if math.isfinite(
            value
        ) else _UNKNOWN
    if isinstance(value, list | tuple):
        return name, ", ".join(map(str, value)) or "none"
    return name, _UNKNOWN if value is None else str(value)
