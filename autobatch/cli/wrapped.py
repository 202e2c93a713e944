"""Sentences that fit a terminal's width."""

import os
from typing import TextIO

_LEAST = 20
_COLUMNS, _LINES = 80, 24


def width_of(stream: TextIO | None) -> int | None:
    """How many characters fit on a line of a terminal; `None` for what is none: nothing is broken there."""
    import shutil

    if stream is None or not stream.isatty():
        return None
    return shutil.get_terminal_size((_columns(stream), _LINES)).columns


def _columns(stream: TextIO) -> int:
    """Those of the terminal itself: the process's stdout may lead elsewhere meanwhile."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        return _COLUMNS


def wrapped(head: str, text: str, width: int | None) -> list[str]:
    """Returns a sentence as lines; those after the first are set in by as much as the head is long.

    Args:
        head: What the first line begins with.
        text: The sentence.
        width: Characters on a line, `None` for one line.

    Example:
        >>> wrapped("note: ", "one that is longer than twenty", 26)
        ['note: one that is longer', '      than twenty']
    """
    import textwrap

    if width is None:
        return [head + text]
    inner = max(width - len(head), _LEAST)
    lines = textwrap.wrap(text, inner, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head if number == 0 else " " * len(head)) + line for number, line in enumerate(lines)]
