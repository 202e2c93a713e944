"""Messages of the functions in the words of the command: what is an argument there is an option here."""

import os
import re
from collections.abc import Iterable, Sequence
from typing import TextIO

from autobatch._text import strip_styles

_FLAGS = {
    "batch_size": "--batch-size",
    "limit": "--limit",
    "max_batch_size": "--max-batch",
    "reserve": "--reserve",
    "timeout_s": "--timeout",
    "trial_timeout_s": "--trial-timeout",
}

# `limit=` as advice, not `limit=3` as what was received.
_ADVICE = re.compile(rf"\b({'|'.join(_FLAGS)})=(?![^\s.,;:)])")


def in_words_of_the_command(message: str) -> str:
    """A message whose advice names options.

    Example:
        >>> in_words_of_the_command("Give a larger timeout_s=.")
        'Give a larger --timeout.'
    """
    return _ADVICE.sub(lambda match: _FLAGS[match[1]], message)


def message_of(error: BaseException) -> str:
    """What an error says, in the words of the command and without a terminal's styles."""
    return strip_styles(in_words_of_the_command(str(error)))


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


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar of some names, `None` if none is similar.

    Args:
        word: What was typed.
        known: What there is.
        cutoff: From 0 for anything to 1 for the same.

    Example:
        >>> nearest("max_batches", ["cache", "max_batch"])
        'max_batch'
    """
    from difflib import get_close_matches

    close = get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def did_you_mean(name: str | None) -> str:
    """A name as a sentence that follows another one; nothing without one."""
    return "" if name is None else f" Did you mean {name}?"
