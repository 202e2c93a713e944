"""What a benchmark has found, as values that can be printed, kept and drawn."""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2
"""Of the files that results are kept in."""

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows for people."""

    title: str  # what they show
    columns: tuple[str, ...]  # heads, with units where there are any
    rows: list[list[Cell]]  # short texts, or numbers that are rounded already; `None` where nothing was measured


@dataclass(frozen=True, slots=True)
class Goal:
    """What was aimed at, and how near it came."""

    text: str  # the aim
    met: bool | None  # whether it was reached, `None` where this form of the benchmark does not measure it
    measured: str  # the figure, with its spread


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over a common axis."""

    title: str  # what they show
    x: str  # the quantity across, with its unit
    y: str  # the quantity upwards, with its unit
    series: dict[str, list[tuple[float, float]]]  # from a line's name to its points
    log_x: bool = False  # whether equal steps across are equal factors
    log_y: bool = False  # the same, upwards


@dataclass(slots=True)
class Findings:
    """What a benchmark has measured."""

    tables: list[Table] = field(default_factory=list)  # for people
    goals: list[Goal] = field(default_factory=list)  # what was aimed at
    notes: list[str] = field(default_factory=list)  # what to know of the figures
    samples: Any = None  # the raw measurements, JSON-ready
    charts: list[Chart] = field(default_factory=list)  # for the page


def verdict(met: bool | None) -> str:  # noqa: FBT001 - the three answers to one question
    return {True: "reached", False: "NOT reached", None: "not measured in this form"}[met]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio that was measured several times: the median, and its quartiles, or its range where there are few."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = _digits(self.middle)
        return f"{self.middle:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"


def _digits(middle: float) -> int:
    """Decimals that tell something: two of a ratio near one, fewer of a large one, more of a small one."""
    if middle >= 10 or not 0 < middle < math.inf:
        return 1 if 10 <= middle < 100 else 0 if middle >= 100 else 2
    return max(2, 1 - math.floor(math.log10(middle)))


def ratio(samples: Sequence[float], over: Sequence[float]) -> Ratio:
    """`samples` over `over`, turn by turn.

    Raises:
        ValueError: There is no turn, or one side has more of them, or a divisor is 0.

    Example:
        >>> print(ratio([2.0, 6.0, 4.4], [2.0, 4.0, 4.0]))
        1.10 (1.00 to 1.50)
    """
    if len(samples) != len(over) or not samples or not all(over):
        msg = (
            "A ratio is taken turn by turn, over values that are not 0. "
            f"Received: samples={list(samples)}, over={list(over)}. Expected as many of the one as of the other."
        )
        raise ValueError(msg)
    values = sorted(one / other for one, other in zip(samples, over, strict=True))
    if len(values) < 4:
        return Ratio(statistics.median(values), values[0], values[-1])
    low, middle, high = statistics.quantiles(values, n=4)
    return Ratio(middle, low, high)


def interleaved(sides: Mapping[str, Callable[[], float]], turns: int) -> dict[str, list[float]]:
    """What each side measures in each turn; who goes first changes from turn to turn."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns):
        for name in list(sides) if turn % 2 == 0 else list(sides)[::-1]:
            samples[name].append(sides[name]())
    return samples


UNKNOWN = "-"
_BEGINS_AS_A_NUMBER = re.compile(r"[-+<>~]?\d")
_MOST_DECIMALS = 6


def texts(table: Table) -> list[list[str]]:
    """The cells of all rows as they are written, each row as long as the head.

    Example:
        >>> texts(Table("speed", ("side", "images/s"), [["ours", 1234.5], ["theirs", 410.25]]))
        [['ours', '1,234.50'], ['theirs', '410.25']]
    """
    width = len(table.columns)
    rows = [[*row, *[None] * (width - len(row))][:width] for row in table.rows]
    decimals = [_decimals([row[i] for row in rows]) for i in range(width)]
    return [[_text(cell, count) for cell, count in zip(row, decimals, strict=True)] for row in rows]


def numeric(table: Table) -> list[bool]:
    """For each column whether it is one of numbers, which stand to the right; "1.03 (1.01 to 1.05)" is one, too.

    Texts in the first column name their rows, whatever they begin with.
    """
    columns = [[row[i] for row in table.rows if len(row) > i and row[i] is not None] for i in range(len(table.columns))]
    return [
        bool(column) and all(_is_number(cell) and (i > 0 or not isinstance(cell, str)) for cell in column)
        for i, column in enumerate(columns)
    ]


def lines_of(table: Table) -> list[str]:
    cells = [list(table.columns), *texts(table)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(table.columns))]
    right = numeric(table)

    def line(row: Sequence[str]) -> str:
        pairs = zip(row, widths, right, strict=True)
        return "  ".join(cell.rjust(width) if end else cell.ljust(width) for cell, width, end in pairs).rstrip()

    return [table.title, *map(line, cells)]


def _is_number(cell: Cell) -> bool:
    if isinstance(cell, str):
        return bool(_BEGINS_AS_A_NUMBER.match(cell)) or cell in ("", UNKNOWN)
    return not isinstance(cell, bool)


def _decimals(column: Sequence[Cell]) -> int | None:
    """How many decimals a column of fractions has; `None` where its cells are too different for a common number."""
    fractions = [abs(cell) for cell in column if isinstance(cell, float)]
    if not fractions or any(isinstance(cell, int) for cell in column):
        return None
    most = max(len(f"{value:f}".rstrip("0").partition(".")[2]) for value in fractions)
    ends = [value for value in fractions if value]
    return most if most <= _MOST_DECIMALS and (not ends or max(ends) < 1000 * min(ends)) else None


def _text(cell: Cell, decimals: int | None) -> str:
    if cell is None:
        return UNKNOWN
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str):
        return " ".join(cell.split()) or UNKNOWN
    return f"{cell:,}" if decimals is None or isinstance(cell, int) else f"{cell:,.{decimals}f}"
