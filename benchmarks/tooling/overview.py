"""The table above all: every goal, what was measured, and whether it was reached."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tooling.results import Folder, Result

from autobatch._text import format_count

State = Literal["reached", "missed", "open"]
WORDS: dict[State, str] = {"reached": "reached", "missed": "not reached", "open": "not measured"}


@dataclass(frozen=True, slots=True)
class Row:
    """A goal, or a benchmark without one."""

    name: str  # of the benchmark
    title: str  # of it
    goal: str  # what was aimed at
    measured: str  # the figure
    state: State | None  # whether it was reached; `None` where nothing was aimed at
    is_there: bool = True  # whether there is a result to look at


def state_of(met: bool | None) -> State:  # noqa: FBT001 - the three answers to one question
    return "open" if met is None else "reached" if met else "missed"


def rows_of(folder: Folder) -> list[Row]:
    """A row for every goal and for every benchmark without one, what nobody has measured last."""
    rows = [row for result in folder.results for row in _rows(result)]
    return [*rows, *(Row(one.name, one.title, one.asks, "no result", "open", is_there=False) for one in folder.missing)]


def told(state: State, goal: str, measured: str) -> str:
    return f"{goal}; {measured}" if state == "open" else f"{goal}; measured: {measured}"


def headline(rows: Sequence[Row]) -> str:
    measured = [row for row in rows if row.is_there]
    goals = [row for row in measured if row.state is not None]
    if not goals:
        named = f"{format_count(len(measured), 'benchmark')} measured, no goal set"
        return named if measured else "Nothing was measured yet"
    reached = sum(row.state == "reached" for row in goals)
    return f"{reached} of {format_count(len(goals), 'goal')} reached"


def lead(folder: Folder) -> str:
    named = f"{format_count(len(folder.results), 'benchmark')} measured"
    missing = f", {len(folder.missing)} not measured" if folder.missing else ""
    ratios = "Figures are ratios of sides that took turns within one run: medians, with their quartiles or range."
    return f"{named}{missing}. {ratios}"


def left_out(unreadable: tuple[str, str]) -> str:
    name, why = unreadable
    return f"{name} is left out: {why}"


def _rows(result: Result) -> list[Row]:
    if not result.goals:
        return [Row(result.name, result.title, "none set", "see its table", None)]
    return [Row(result.name, result.title, one.text, one.measured, state_of(one.met)) for one in result.goals]
