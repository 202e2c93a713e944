"""What a benchmark has found, as values that can be printed, kept and drawn."""

from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2
"""Of the files that results are kept in."""

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people.

    Attributes:
        title: What they show.
        columns: Heads, with units where there are any.
        rows: Short texts, or numbers that are rounded already; `None` where nothing was measured.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]


@dataclass(frozen=True, slots=True)
class Goal:
    """What was aimed at, and how near it came.

    Attributes:
        text: The aim.
        met: Whether it was reached, `None` where this form of the benchmark does not measure it.
        measured: The figure, with its spread.
    """

    text: str
    met: bool | None
    measured: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title: What they show.
        x: The quantity across, with its unit.
        y: The quantity upwards, with its unit.
        series: From a line's name to its points.
        log_x: Whether equal steps across are equal factors.
        log_y: The same, upwards.
    """

    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]]
    log_x: bool = False
    log_y: bool = False


@dataclass(slots=True)
class Findings:
    """What a benchmark has measured.

    Attributes:
        tables: For people.
        goals: What was aimed at.
        notes: What to know of the figures.
        samples: The raw measurements, JSON-ready.
        charts: For the page.
    """

    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: Any = None
    charts: list[Chart] = field(default_factory=list)


def verdict(met: bool | None) -> str:  # noqa: FBT001 - the three answers to one question
    """Whether a goal was reached, in words."""
    return {True: "reached", False: "NOT reached", None: "not measured in this form"}[met]
