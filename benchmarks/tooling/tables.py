"""Tables as text: what is a number stands to the right, with as many decimals as its neighbours above and below."""

import re
from collections.abc import Sequence

from tooling.facts import Cell, Table

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
    """The table as lines for a terminal, its title first."""
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
