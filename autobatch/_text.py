"""Bytes and durations as people read them, aligned columns, and text without a terminal's styles."""

import math
import re
from collections.abc import Sequence

KIB = 1024

MIB = 1024 * KIB

GIB = 1024 * MIB


def format_bytes(count: float) -> str:
    """Returns `count` bytes, negative for a shortfall, as short text: "2.1 GiB", "172 MiB", "-12 KiB", "900 bytes".

    Example:
        >>> format_bytes(180355072)
        '172 MiB'
    """
    size = abs(count)
    if size >= GIB:
        return f"{count / GIB:,.1f} GiB"
    if size >= MIB:
        return f"{count / MIB:.0f} MiB"
    if size >= KIB:
        return f"{count / KIB:.0f} KiB"
    return f"{count:.0f} bytes"


def format_count(count: int, thing: str) -> str:
    """Returns a number of things with its noun: "1 sample", "64 samples".

    Example:
        >>> format_count(1, "trial"), format_count(0, "trial")
        ('1 trial', '0 trials')
    """
    return f"{count} {thing}{'s' * (count != 1)}"


def format_duration(seconds: float) -> str:
    """Returns a duration as people write it: "0.014 s", "4.2 s", "1 min 40 s", "2 h 5 min"."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.3f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


_STYLE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


def strip_styles(text: str) -> str:
    r"""Returns the text without the codes that style it on a terminal, as Keras does with its errors.

    Example:
        >>> strip_styles("\x1b[1mInvalid dtype\x1b[0m")
        'Invalid dtype'
    """
    return _STYLE.sub("", text)


def columns(rows: Sequence[Sequence[str]], *, left: frozenset[int] = frozenset({0})) -> list[str]:
    """One line for each row, cells aligned; columns that are empty below their heading are left out.

    Columns of words, by their places, are aligned to the `left`; the others hold numbers and are aligned to the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    used = [number for number, column in enumerate(zip(*(rows[1:] or rows), strict=True)) if any(column)]
    aligned = [[row[i].ljust(widths[i]) if i in left else row[i].rjust(widths[i]) for i in used] for row in rows]
    return ["  ".join(cells).rstrip() for cells in aligned]
