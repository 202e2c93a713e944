"""Text for people: lines that fit a terminal, the name that was meant, messages in the command's own terms."""

import os
import re
from collections.abc import Iterable
from typing import TextIO

from autobatch._text import strip_styles

_NARROWEST = 20
_COLUMNS, _LINES = 80, 24  # of a terminal that doesn't say
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


def message_of(error: BaseException) -> str:
    """An error's message without a terminal's styles, its advice naming options instead of arguments.

    Example:
        >>> message_of(ValueError("Give a larger timeout_s=."))
        'Give a larger --timeout.'
    """
    return strip_styles(_ADVICE.sub(lambda match: _FLAGS[match[1]], str(error)))


def width_of(stream: TextIO | None) -> int | None:
    """How many characters fit on a line of a terminal; `None` for anything else, where no line is broken."""
    import shutil

    if stream is None or not stream.isatty():
        return None
    try:  # the terminal itself: the process's stdout may lead elsewhere meanwhile
        columns = os.get_terminal_size(stream.fileno()).columns or _COLUMNS
    except (OSError, ValueError):
        columns = _COLUMNS
    return shutil.get_terminal_size((columns, _LINES)).columns


def wrapped(head: str, text: str, width: int | None) -> list[str]:
    """A head and a sentence as lines of at most `width` characters, the later ones indented by the head's length.

    Example:
        >>> wrapped("note: ", "one that is longer than twenty", 26)
        ['note: one that is longer', '      than twenty']
    """
    import textwrap

    if width is None:
        return [head + text]
    inner = max(width - len(head), _NARROWEST)
    lines = textwrap.wrap(text, inner, break_long_words=False, break_on_hyphens=False) or [""]
    return [(head if number == 0 else " " * len(head)) + line for number, line in enumerate(lines)]


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The most similar of the known names, `None` if none is similar.

    Example:
        >>> nearest("max_batches", ["cache", "max_batch"])
        'max_batch'
    """
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: str | None) -> str:
    """A sentence that suggests a name, to follow another sentence; nothing without a name."""
    return "" if name is None else f" Did you mean {name}?"
