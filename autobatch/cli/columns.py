"""A table as plain text."""

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], *, left: frozenset[int] = frozenset({0})) -> list[str]:
    """Returns one line for each row, with cells of equal width under each other; empty columns are left out.

    Args:
        rows: Cells, as many in each row; the first row may be a heading.
        left: The columns of words, which stand to the left; numbers stand to the right, so that their digits line up.

    Example:
        >>> columns([["name", "MiB"], ["a", "7"], ["long", "12"]])
        ['name  MiB', 'a       7', 'long   12']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    used = [number for number, column in enumerate(zip(*rows[1:], strict=True)) if any(column)]
    return ["  ".join(_cell(row[i], widths[i], left=i in left) for i in used).rstrip() for row in rows]


def _cell(text: str, width: int, *, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)
