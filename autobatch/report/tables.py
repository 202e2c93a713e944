"""The tables of a page: rows of text, made from trials, decisions and facts about the machine."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autobatch._text import format_bytes, format_duration
from autobatch.results.run import Decision
from autobatch.results.text import UNKNOWN, format_amount, trial_rows
from autobatch.results.trial import Trial

MOST_ROWS = 200


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their headings; the first cell names its row."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: frozenset[int]  # the columns of words, which stand to the left
    marked: int | None = None  # the row that stands out, counted from 0
    left_out: int = 0  # rows in the middle that are not here


def trials_table(trials: Sequence[Trial], chosen: Trial | None) -> Table:
    head, rows = trial_rows(trials)
    marked = next((place for place, trial in enumerate(trials) if trial == chosen), None)
    if not any(trial.detail for trial in trials):
        return Table(head, tuple(rows), frozenset({1}), marked)
    said = tuple((*row, trial.detail or "") for row, trial in zip(rows, trials, strict=True))
    return Table((*head, "what it said last"), said, frozenset({1, len(head)}), marked)


def decisions_table(decisions: Sequence[Decision], most: int = MOST_ROWS) -> Table:
    """One numbered row for each change of the micro-batch; the numbers are those on the chart."""
    given_back = any(one.returned_bytes or one.held_bytes for one in decisions)
    back = ("went back", "stays held") if given_back else ()
    head = ("no.", "after", "where", "micro-batch", "headroom", *back, "why")
    rows = [
        (
            str(place),
            UNKNOWN if one.at_s is None else format_duration(one.at_s),
            f"epoch {one.epoch + 1}, update {one.update + 1}, {one.phase}",
            f"{one.before} → {one.after}",
            format_amount(one.headroom_bytes),
            *([format_amount(one.returned_bytes), format_amount(one.held_bytes)] if given_back else []),
            one.reason,
        )
        for place, one in enumerate(decisions, 1)
    ]
    left_out = max(0, len(rows) - most)
    kept = [*rows[: most // 2], *rows[len(rows) - most // 2 :]] if left_out else rows
    return Table(head, tuple(kept), frozenset({2, len(head) - 1}), left_out=left_out)


def environment_rows(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts about the machine as names and texts, with what is nested written out."""
    return [(name.replace("_", " "), said) for name, said in _flat("", environment)]


def _flat(name: str, value: Any) -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _flat(f"{name} {key}".strip(), one)
    elif isinstance(value, list | tuple) and any(isinstance(one, Mapping | list | tuple) for one in value):
        for place, one in enumerate(value, 1):
            yield from _flat(f"{name} {place}" if len(value) > 1 else name, one)
    else:
        yield _said(name, value)


def _said(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        return name, "yes" if value else "no"
    if name.endswith("_bytes") and isinstance(value, int | float):
        said = f"{value:,.0f} bytes ({format_bytes(value)})" if math.isfinite(value) else UNKNOWN
        return name.removesuffix("_bytes"), said
    if isinstance(value, list | tuple):
        return name, ", ".join(map(str, value)) or "none"
    return name, UNKNOWN if value is None else str(value)
